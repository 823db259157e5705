include include.profile
include firefox-common.profile
seccomp
