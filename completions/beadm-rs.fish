complete --keep-order --exclusive --command beadm-rs --arguments "(COMPLETE=fish beadm-rs -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
