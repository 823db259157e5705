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
python3 -m http.server --bind 127.0.0.1 8081 >/dev/null 2>&1 &
server=$!
wait_for curl -sf http://127.0.0.1:8081/packed.tgz
cat >some.cmake <<'END'
file(DOWNLOAD http://127.0.0.1:8081/source/in got TIMEOUT 5 STATUS status)
file(READ got read)
file(MAKE_DIRECTORY made/in)
file(COPY_FILE got made/copy)
file(CREATE_LINK copy made/link SYMBOLIC)
file(CREATE_LINK made/copy made/hard)
file(CHMOD made/copy PERMISSIONS OWNER_READ OWNER_WRITE)
file(RENAME made/hard made/renamed)
file(REAL_PATH made/link real)
file(SIZE made/link size)
file(TOUCH made/touched)
file(GLOB_RECURSE found RELATIVE "${CMAKE_CURRENT_LIST_DIR}/made" made/*)
file(ARCHIVE_CREATE OUTPUT made.zip PATHS made FORMAT zip)
file(ARCHIVE_EXTRACT INPUT made.zip DESTINATION extracted)
cmake_host_system_information(RESULT cores QUERY NUMBER_OF_LOGICAL_CORES TOTAL_PHYSICAL_MEMORY)
execute_process(COMMAND cat got COMMAND cat OUTPUT_VARIABLE said TIMEOUT 5)
message(NOTICE "${status} ${read}${size} ${found} ${said}")
file(REMOVE_RECURSE made)
END
"$PROGRAM" -P some.cmake 2>&1
"$PROGRAM" -E rename got other
"$PROGRAM" -E env A=b sh -c 'echo "$A"'
"$PROGRAM" -E touch touched
"$PROGRAM" -E compare_files other source/in && echo equal
"$PROGRAM" -E rm -rf prefix extracted
"$PROGRAM" --find-package 2>/dev/null || echo "ended with $?"
kill $server
