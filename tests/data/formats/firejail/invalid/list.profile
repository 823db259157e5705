caps.drop all
seccomp open, close
seccomp.drop @nosuch,@clock:EPERM
seccomp.keep ,
seccomp.32 $x
