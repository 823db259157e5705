# starts: usr/bin/ninja usr/bin/dash usr/bin/cat usr/bin/uname
# It looks for its modules beside what it is called.
place=$(dirname "$(dirname "$PROGRAM")")
test -e "$place/share" || ln -s /usr/share "$place/share"
mkdir source
echo 'value @VALUE@' >source/in
cat >source/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.25)
project(some LANGUAGES NONE)
set(VALUE 42)
configure_file(in out)
file(GLOB found "${CMAKE_SOURCE_DIR}/*")
file(SHA256 "${CMAKE_SOURCE_DIR}/in" sum)
file(LOCK "${CMAKE_BINARY_DIR}/lock")
execute_process(COMMAND cat in WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}" OUTPUT_VARIABLE said)
message(STATUS "${sum} ${said}")
add_custom_command(OUTPUT both COMMAND cat out "${CMAKE_SOURCE_DIR}/in" > both DEPENDS in)
add_custom_target(all_of_it ALL DEPENDS both)
install(FILES "${CMAKE_BINARY_DIR}/both" DESTINATION share)
END
"$PROGRAM" -G Ninja -S source -B build | grep value
"$PROGRAM" --build build | tail -n 1
"$PROGRAM" --install build --prefix "$PWD/prefix" | grep -c Installing
cat prefix/share/both
"$PROGRAM" -E tar czf packed.tgz prefix
"$PROGRAM" -E tar tf packed.tgz | sort
"$PROGRAM" -E copy_directory prefix copied
"$PROGRAM" -E sha256sum copied/share/both
