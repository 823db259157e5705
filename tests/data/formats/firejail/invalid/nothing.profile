caps.drop all
noroot
