# frozen_string_literal: true

# What Homebrew makes of a formula, as far as that can be told without Homebrew:
#
#   ruby homebrew.rb FORMULA plist|facts   print it
#   ruby homebrew.rb FORMULA install            print what `install` would do, a step a line
#   ruby homebrew.rb FORMULA test VENV FOLDER   run `test do` on the programs of VENV
#
# It follows Homebrew 5.1 (Library/Homebrew/service.rb, formula.rb, language/python.rb): what those
# refuse ends here too, and a word they do not know is a NoMethodError. HOMEBREW_PREFIX says where.

require "English"
require "fileutils"
require "json"
require "open3"
require "pathname"
require "socket"

HOMEBREW_PREFIX = Pathname(ENV.fetch("HOMEBREW_PREFIX", "/opt/homebrew"))
PYTHON = /\Apython@(3\.\d+)\z/

# What a `service do` block says, and the plist it becomes.
class Service
  KEEP_ALIVE = [:always, :successful_exit, :crashed, :path].freeze
  PROCESS_TYPES = [:background, :standard, :interactive, :adaptive].freeze
  PATHS = { working_dir: "WorkingDirectory", log_path: "StandardOutPath", error_log_path: "StandardErrorPath" }.freeze
  SESSIONS = ["Aqua", "Background", "LoginWindow", "StandardIO", "System"].freeze

  def initialize(formula, &block)
    @formula = formula
    @run = []
    @keep_alive = {}
    @environment = {}
    @paths = {}
    @numbers = {}
    instance_eval(&block)
  end

  [:opt_bin, :opt_prefix, :opt_libexec, :var, :etc, :bin, :libexec].each do |place|
    define_method(place) { @formula.public_send(place) }
  end

  PATHS.each_key { |path| define_method(path) { |value| @paths[path] = value.to_s } }

  [:throttle_interval, :stop_timeout, :restart_delay].each do |number|
    define_method(number) do |value|
      raise TypeError, "Service##{number} expects an Integer" unless value.is_a?(Integer)

      @numbers[number] = value
    end
  end

  def run(command)
    @run = Array(command).map(&:to_s)
  end

  def keep_alive(value)
    value = { always: value } unless value.is_a?(Hash)
    raise TypeError, "Service#keep_alive only allows: #{KEEP_ALIVE}" unless (value.keys - KEEP_ALIVE).empty?

    @keep_alive = value
  end

  def process_type(value)
    raise TypeError, "Service#process_type allows: #{PROCESS_TYPES}" unless PROCESS_TYPES.include?(value)

    @process_type = value
  end

  def environment_variables(variables)
    @environment = variables.transform_values(&:to_s)
  end

  def std_service_path_env
    "#{HOMEBREW_PREFIX}/bin:#{HOMEBREW_PREFIX}/sbin:/usr/bin:/bin:/usr/sbin:/sbin"
  end

  def plist
    made = { Label: "homebrew.mxcl.#{@formula.name}", ProgramArguments: command, RunAtLoad: true }
    made[:ThrottleInterval] = @numbers[:throttle_interval]
    made[:ExitTimeOut] = @numbers[:stop_timeout]
    made[:TimeOut] = @numbers[:restart_delay]
    made[:ProcessType] = @process_type&.to_s&.capitalize
    PATHS.each { |path, key| made[key.to_sym] = expanded(path) }
    made[:EnvironmentVariables] = @environment unless @environment.empty?
    made[:KeepAlive] = kept_alive
    made[:LimitLoadToSessionType] = SESSIONS
    made.compact
  end

  def to_plist
    <<~XML
      <?xml version="1.0" encoding="UTF-8"?>
      <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
      <plist version="1.0">
      #{xml(plist)}
      </plist>
    XML
  end

  private

  def command
    @run.map { |word| word.start_with?("~") ? File.expand_path(word) : word }
  end

  def expanded(path)
    File.expand_path(@paths[path]) if @paths[path]
  end

  # The first key that is there counts, and no other.
  def kept_alive
    if @keep_alive[:always]
      true
    elsif @keep_alive.key?(:successful_exit)
      { SuccessfulExit: @keep_alive[:successful_exit] }
    elsif @keep_alive.key?(:crashed)
      { Crashed: @keep_alive[:crashed] }
    end
  end

  def xml(value, indent = "")
    inner = "#{indent}\t"
    case value
    when Hash
      rows = value.map { |key, each| "#{inner}<key>#{key}</key>\n#{xml(each, inner)}\n" }
      "#{indent}<dict>\n#{rows.join}#{indent}</dict>"
    when Array
      "#{indent}<array>\n#{value.map { |each| "#{xml(each, inner)}\n" }.join}#{indent}</array>"
    when true, false then "#{indent}<#{value}/>"
    when Integer then "#{indent}<integer>#{value}</integer>"
    else "#{indent}<string>#{value.to_s.encode(xml: :text)}</string>"
    end
  end
end

# One `resource do` block: the files it has for each system.
class Resource
  attr_reader :name, :files

  def initialize(name, &block)
    @name = name
    @files = []
    @system = "any"
    instance_eval(&block)
    raise ArgumentError, "#{name}: no url" if @files.empty?
  end

  def url(value)
    @files << { on: @system, url: value }
  end

  def sha256(value)
    raise ArgumentError, "#{name}: sha256 #{value}" unless value.match?(/\A[0-9a-f]{64}\z/)

    @files.last[:sha256] = value
  end

  [:on_sonoma, :on_sequoia, :on_tahoe].each do |system|
    define_method(system) do |or_newer = nil, &block|
      @system = [system, or_newer].compact.join(" ")
      block.call
      @system = "any"
    end
  end

  def stage
    yield
  end

  # The name under which a downloaded file is staged.
  def downloader
    Pathname(File.basename(@files.first[:url]))
  end

  def to_h
    { name: @name, files: @files }
  end
end

module Language
  module Python
    # A virtual environment that only tells what it would do.
    module Virtualenv
      def virtualenv_create(root, python, system_site_packages: true)
        wanted = self.class.dependencies.filter_map { |name| name[PYTHON, 1] }
        raise ArgumentError, "#{python} is no dependency" unless wanted == [python.delete_prefix("python")]

        tell "venv #{root} with #{python}, site packages: #{system_site_packages}"
        self
      end

      def pip_install(file)
        tell "pip install #{File.basename(file)}"
      end

      def pip_install_and_link(_folder)
        tell "pip install #{name} and link its programs"
      end
    end
  end
end

# What a formula is made of.
class Formula
  @facts = {}

  class << self
    attr_reader :dependencies, :resources, :facts, :service_block, :test_block

    def inherited(formula)
      super
      formula.instance_eval do
        @facts = {}
        @dependencies = []
        @resources = []
      end
    end

    [:desc, :homepage, :sha256, :license].each do |fact|
      define_method(fact) { |value| @facts[fact] = value }
    end

    def url(value)
      @facts[:url] = value
      @facts[:version] = value[/v(\d[\d.]*)\.tar\.gz\z/, 1]
    end

    def head(value, branch:)
      @facts[:head] = "#{value} #{branch}"
    end

    def depends_on(what)
      @dependencies << (what.is_a?(Hash) ? what.first.join(" ") : what.to_s)
    end

    def preserve_rpath
      @facts[:preserve_rpath] = true
    end

    def resource(name, &block)
      @resources << Resource.new(name, &block)
    end

    def service(&block)
      @service_block = block
    end

    def test(&block)
      @test_block = block
    end
  end

  def name
    self.class.name.downcase
  end

  def version
    self.class.facts.fetch(:version)
  end

  def resources
    self.class.resources
  end

  def opt_prefix
    HOMEBREW_PREFIX/"opt"/name
  end

  def prefix
    HOMEBREW_PREFIX/"Cellar"/name/version
  end

  { opt_bin: "bin", opt_libexec: "libexec" }.each do |place, folder|
    define_method(place) { opt_prefix/folder }
  end

  def bin
    @venv ? @venv/"bin" : prefix/"bin"
  end

  def libexec
    @venv || (prefix/"libexec")
  end

  { var: "var", etc: "etc" }.each do |place, folder|
    define_method(place) { HOMEBREW_PREFIX/folder }
  end

  def buildpath
    Pathname("/private/tmp")/name
  end

  def build
    Struct.new(:head?).new(false)
  end

  def tell(line)
    puts line
  end

  def generate_completions_from_executable(program, *arguments)
    ["bash", "zsh", "fish"].each { |shell| tell [File.basename(program), *arguments, shell].join(" ") }
  end

  def service
    Service.new(self, &self.class.service_block)
  end

  # `test do`

  def run_test(venv, folder)
    @venv = Pathname(venv)
    @folder = folder
    ENV["HOME"] = folder
    instance_eval(&self.class.test_block)
  end

  def testpath
    Pathname(@folder)
  end

  def free_port
    server = TCPServer.new("127.0.0.1", 0)
    server.addr[1]
  ensure
    server&.close
  end

  def shell_output(command, result = 0)
    output = `#{command}`
    assert_equal result, $CHILD_STATUS.exitstatus
    output
  end

  def system(*command)
    assert_equal true, Kernel.system(*command.map(&:to_s))
  end

  def spawn(*command)
    Kernel.spawn(*command.map(&:to_s))
  end

  def assert_equal(expected, actual)
    raise "expected #{expected.inspect}, found #{actual.inspect}" unless expected == actual
  end

  def assert_match(expected, actual)
    raise "expected #{expected.inspect} in #{actual.inspect}" unless actual.match?(expected)
  end
end

file, what, *arguments = ARGV
require File.expand_path(file)
formula = Object.const_get(File.basename(file, ".rb").capitalize).new
case what
when "plist" then puts formula.service.to_plist
when "facts"
  klass = formula.class
  resources = klass.resources.map(&:to_h)
  puts JSON.generate(**klass.facts, caveats: formula.caveats, dependencies: klass.dependencies, resources: resources)
when "install" then formula.install
when "test" then formula.run_test(*arguments)
else abort "homebrew.rb: #{what} is no such thing"
end
