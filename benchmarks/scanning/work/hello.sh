"$PROGRAM"
"$PROGRAM" --greeting=salut
"$PROGRAM" --traditional --version
