# Firejail profile for a viewer of pictures
include viewer.local
include globals.local

noblacklist ${HOME}/.config/viewer
include disable-common.inc

caps.drop all
net none
nonewprivs
?HAS_APPIMAGE: ignore private-dev
protocol unix,inet6,-inet6
seccomp !chroot,@clock,tee:ENOENT,vmsplice:kill # its own sandbox
seccomp.block-secondary
memory-deny-write-execute
private-dev
restrict-namespaces user,net,time
include network.inc
