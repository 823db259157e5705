# starts: usr/bin/dash usr/bin/echo
cat >some.lua <<'END'
local file = assert(io.open("file", "w+"))
file:setvbuf("full", 100)
for i = 1, 2000 do file:write(i, "\n") end
file:seek("set", 0)
local n = 0
for line in file:lines() do n = n + tonumber(line) end
print(n, file:seek("end"))
file:close()
os.rename("file", "other")
print(io.open("file"), os.remove("other"))
print(io.popen("echo popen"):read("a"), os.execute("exit 3"))
local name = os.tmpname(); os.remove(name)
io.tmpfile():write("x")
local c = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
print(c(), c(), #string.rep("x", 1e6), pcall(error, "bad"))
print(os.date("!%Y", 0), os.getenv("LC_ALL"), os.clock() >= 0, os.time() > 0)
for i = 1, 1e5 do local t = {i} end
collectgarbage()
print(pcall(require, "none"))
END
"$PROGRAM" some.lua
echo 'print(1 // 1)' | "$PROGRAM" -
"$PROGRAM" -e 'os.exit(4)' || echo "ended with $?"
