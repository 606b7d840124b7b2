"""The service managers that mlxctl can drive, one module each.

manager      the interface of all, what they have in common, and what they tell of the service
choose       which one is in charge
description  what each is told about the daemon
launchd      with plist (what launchd is given) and launchctl (how it is spoken to)
homebrew     the job of `brew services`, with brew (what `brew` knows about it)
systemd      user units
process      no service manager
probe        the daemon from outside, whoever started it
"""
