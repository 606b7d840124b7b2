"""Downloads from the model hub, each in a process of its own.

In the daemon, which imports nothing heavy:

pulls             the pulls that were started, and what becomes of them
download_process  one download process, from its start to its last report
reference         the name of a repository and its revision

In the process (`python -m mlxd.hub`), the only code that imports huggingface_hub:

download          one download from start to end
transfer          several files at the same time, over several connections
repository        what the hub has, its files, and what its errors mean
compatibility     what is refused, and which files a model needs
retry             when to try again
meter             reports the progress

In both: `staging`, where an unfinished download lies, and `partial_file`, an unfinished file.
"""
