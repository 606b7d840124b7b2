"""The service managers mlxctl can drive, one module each.

manager      the interface of all
choose       which one is in charge
description  what each is told of the daemon
launchd      with plist (what it is given) and launchctl (how it is spoken to)
systemd      user units
homebrew     that of `brew services`, with homebrew_launchd, homebrew_systemd and brew
process      where nobody is in charge
observation  the daemon from outside, whoever started it; owner says whose the home is
"""
