"""The commands of mlxctl, one module per group, imported on use.

service  start, stop, restart, reload
install  install, uninstall, enable, disable
status   status, version
loading  use, load, unload, ps
models   list, show, rm, import, alias
shell    env, completion

Each of these modules has the command of its name: bench, cache, chat, config, doctor, key, launch,
logs, open, pull, report, run, top.
"""
