#!/usr/bin/env bash
# On a Mac: Homebrew itself installs, tests, starts and stops this commit, from a tap that goes again.
set -euo pipefail
cd "$(dirname "$0")/../.."

tap=mlxd/try
if brew list --formula mlxd >/dev/null 2>&1; then
  echo "try.sh: mlxd is installed by Homebrew already: brew uninstall mlxd" >&2
  exit 1
fi

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
work=$(mktemp -d)
archive=$work/mlxd-$version.tar.gz
git archive --format=tar.gz --prefix="mlxd-$version/" --output="$archive" HEAD
sha256=$(shasum -a 256 "$archive" | cut -d ' ' -f 1)

brew tap-new --no-git "$tap"
leave() {
  brew services stop mlxd || true
  brew uninstall --force mlxd || true
  brew untap --force "$tap"
  rm -rf "$work"
}
trap leave EXIT

formula=$(brew --repository "$tap")/Formula/mlxd.rb
sed -e "s|^  url .*|  url \"file://$archive\"|" -e "s|^  sha256 .*|  sha256 \"$sha256\"|" \
  packaging/homebrew/mlxd.rb >"$formula"

set -x
brew style "$formula"
brew install --build-from-source "$tap/mlxd"
brew test "$tap/mlxd"
brew services start mlxd
mlxctl start  # waits until it answers
mlxctl status
mlxctl restart
brew services list --json
mlxctl doctor || true  # a virtual Mac may have no GPU
brew services stop mlxd
