seccomp.drop acct
seccomp.32 acct
