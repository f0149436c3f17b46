-- What the suite `lua` runs: each test by its name, with the directory where it may write; without a name it lists them.

local tests, out = {}, arg[2]

function tests.formatting()
  for n = -3, 3 do
    print(string.format("%5d|%-8.3f|%e|%g|%x|%a|%q", n, n / 7, n * 1e10, n / 3, n & 0xffff, n / 2, "a\n\0b" .. n))
  end
  print(1e15, 2^53, 1e100, -0.0, 1 / 0, math.pi, 3 // 2, 3.0 // 2, 7 % -3, -7 // 2, 1 << 62, math.mininteger)
  print(string.format("%q", 1 / 3), tostring(nil), tostring(true), ("x"):rep(5, "-"), ("abc"):reverse():upper())
  print(string.pack("<i4 s2 z", 7, "ab", "cd"):byte(1, -1))
  print(utf8.char(228, 8364, 128512), utf8.len("äöü"), utf8.codepoint("ä€", 1, -1))
end

function tests.patterns()
  local text = "The quick brown fox, aged 42, jumps over 3 lazy dogs; key=value, other = 'thing'"
  print((text:gsub("%w+", function(word) return word:sub(1, 1):upper() .. word:sub(2) end)))
  for key, value in text:gmatch("(%w+)%s*=%s*'?(%w+)") do print(key, value) end
  print(text:gsub("%d+", { ["42"] = "forty-two" }))
  print(text:find("%f[%a]o%a+"), text:match("^(%w+)"), ("  trim "):match("^%s*(.-)%s*$"), ("[[x]]"):gsub("%b[]", "%0%0"))
  local words = {}
  for n = 1, 20000 do words[n] = "w" .. n * 7919 % 1000 end
  print(#table.concat(words, " "):gsub("w(%d)", "%1w"), select(2, table.concat(words):gsub("w1", "")))
end

function tests.sorting()
  local list, seed = {}, 42
  for n = 1, 30000 do
    seed = (seed * 1103515245 + 12345) % 2^31
    list[n] = seed // 1 | 0
  end
  table.sort(list)
  print(list[1], list[15000], list[30000])
  table.sort(list, function(a, b) return a % 1000 == b % 1000 and a < b or a % 1000 < b % 1000 end)
  print(list[1], list[15000], list[30000])
  print(pcall(table.sort, { 3, 1, 2, 5, 4, 9, 7, 8, 6, 0, 3, 1 }, function() return true end))
  print(table.unpack(table.move({ 1, 2, 3 }, 2, 3, 1)))
end

function tests.coroutines()
  local function numbers(most)
    return coroutine.wrap(function() for n = 2, most do coroutine.yield(n) end end)
  end
  local function without(prime, source)
    return coroutine.wrap(function() for n in source do if n % prime ~= 0 then coroutine.yield(n) end end end)
  end
  local source, primes = numbers(400), {}
  while true do
    local prime = source()
    if not prime then break end
    primes[#primes + 1] = prime
    source = without(prime, source)
  end
  print(#primes, primes[#primes])
  local failing = coroutine.create(function() coroutine.yield(1) error({ code = 5 }) end)
  print(coroutine.resume(failing), coroutine.status(failing))
  local ok, problem = coroutine.resume(failing)
  print(ok, problem.code, coroutine.status(failing), coroutine.resume(failing))
  local closing = coroutine.create(function() local x <close> = setmetatable({}, { __close = function() print("closed") end }) coroutine.yield() end)
  coroutine.resume(closing)
  print(coroutine.close(closing), coroutine.isyieldable())
end

function tests.closures()
  local function counter()
    local count = 0
    return function(step) count = count + (step or 1) return count end
  end
  local one, other = counter(), counter()
  print(one(), one(5), other(), one())
  local Stack = {}
  Stack.__index, Stack.__len = Stack, function(self) return self.size end
  Stack.__add = function(a, b) return a.size + b.size end
  local function new() return setmetatable({ size = 0 }, Stack) end
  function Stack:push(...) for _, value in ipairs({ ... }) do self.size = self.size + 1 self[self.size] = value end return self end
  print(#new():push(1, 2, 3), new():push(1) + new():push(2, 3), rawlen({ 1, 2 }), select("#", nil, nil))
  goto done
  print("not this")
  ::done::
  print(load("local a, b = ... return a * b")(6, 7), load("syntax error"))
end

function tests.errors()
  print(pcall(error, "text", 0), pcall(error), pcall(function() local x = nil; return x.y end))
  print(xpcall(function() return 1 + {} end, function(why) return "handled: " .. why end))
  print(select("#", pcall(string.rep, "x", -1)), pcall(string.rep, "x", 1 << 40))
  print(pcall(setmetatable, 1, {}), pcall(math.random, 2, 1), pcall(tonumber, "z", 99), tonumber("zz", 36), tonumber("0x1p4"))
  print(debug.traceback("trace"):match("^[^\n]+"))
  local ok, why = pcall(function() local f <close> = 4 end)
  print(ok, why)
  warn("@on")
  warn("a warning")
end

function tests.files()
  local path = out .. "/numbers"
  local file = assert(io.open(path, "w"))
  print(file:setvbuf("full", 4096), io.type(file), io.type(4))
  for n = 1, 5000 do file:write(n, " ", n * n, "\n") end
  print(file:seek("cur"), file:seek("set", 10), file:write("##") == file, file:seek("end"))
  file:close()
  print(io.type(file), pcall(file.write, file, "x"))
  local lines, sum = 0, 0
  for n, square in io.lines(path, "n", "n") do
    if not square then break end
    lines, sum = lines + 1, sum + square
  end
  print(lines, sum)
  for line in io.lines(path) do print(line) if line:find("^8 ") then break end end
  file = io.open(path, "a+b")
  print(file:read("l"), file:read(0), file:read(7), file:write("end") == file, file:seek("set"), #file:read("a"), file:read(1), file:read("a"))
  file:close()
  print(os.rename(path, out .. "/moved"), os.rename(path, out .. "/again"), io.open(path))
  print(os.remove(out .. "/nothing"), io.open(".", "w"), io.open("program.lua", "q") == nil)
end

function tests.input()
  print(io.read("n"), io.read("l"), io.read("n", "l"))
  for line in io.lines(nil, "L") do io.write("[", line, "]") end
  print(io.read("a"), io.read("l"), io.read(0))
  io.stderr:write("to errors\n")
end

function tests.system()
  print(os.getenv("COLOUR"), os.getenv("HOME"), os.getenv("NOTHING"), os.time({ year = 2024, month = 2, day = 29, hour = 12 }))
  print(os.date("!%Y-%m-%d %H:%M:%S %a %j %p", 1000000000), os.date("*t", 86400).year, os.difftime(5, 3), pcall(os.date, "%Ez", 1))
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write("x"):close()
  print(name:match("^/tmp/lua_%w+$") ~= nil, os.remove(name), select(3, io.open(name)))
  local before, started = os.time(), os.clock()
  local sum = 0
  for n = 1, 2000000 do sum = sum + n % 7 end
  print(sum, os.clock() >= started, os.time() - before < 60, os.time() > 1700000000, os.setlocale())
  local temporary = io.tmpfile()
  temporary:write("kept"):seek("set")
  print(temporary:read("a"), package.config:sub(1, 1), arg[0])
end

function tests.modules()
  package.path = "./?.lua"
  local module, where = require("module")
  print(module.double(21), module.name, where, require("module") == module)
  local ok, why = pcall(require, "nothing")
  print(ok, why:match("^[^\n]+"))
  print(dofile("module.lua").double(4), loadfile("nothing.lua"))
end

function tests.memory()
  local weak = setmetatable({}, { __mode = "v" })
  for n = 1, 100 do weak[n] = { n } end
  collectgarbage()
  local left = 0
  for _ in pairs(weak) do left = left + 1 end
  local finalized = 0
  for _ = 1, 1000 do setmetatable({}, { __gc = function() finalized = finalized + 1 end }) end
  collectgarbage()
  print(left, finalized, collectgarbage("count") > 10)
  local function tree(depth) return depth == 0 and {} or { tree(depth - 1), tree(depth - 1) } end
  local function count(node) return node[1] and 1 + count(node[1]) + count(node[2]) or 1 end
  collectgarbage("generational")
  for depth = 4, 16, 4 do print(depth, count(tree(depth))) end
end

function tests.computing()
  local function fannkuch(n)
    local p, q, s, sign, maxflips, sum = {}, {}, {}, 1, 0, 0
    for i = 1, n do p[i], q[i], s[i] = i, i, i end
    while true do
      local q0 = p[1]
      if q0 ~= 1 then
        for i = 2, n do q[i] = p[i] end
        local flips = 1
        while true do
          local qq = q[q0]
          if qq == 1 then
            sum = sum + sign * flips
            maxflips = math.max(flips, maxflips)
            break
          end
          q[q0] = q0
          if q0 >= 4 then
            local i, j = 2, q0 - 1
            repeat q[i], q[j] = q[j], q[i] i, j = i + 1, j - 1 until i >= j
          end
          q0, flips = qq, flips + 1
        end
      end
      if sign == 1 then
        p[1], p[2], sign = p[2], p[1], -1
      else
        p[2], p[3], sign = p[3], p[2], 1
        for i = 3, n do
          local sx = s[i]
          if sx ~= 1 then s[i] = sx - 1 break end
          if i == n then return sum, maxflips end
          s[i] = i
          local t = p[1]
          for j = 1, i do p[j] = p[j + 1] end
          p[i + 1] = t
        end
      end
    end
  end
  print(fannkuch(8))
  local x, y = 0, 0
  for n = 1, 100000 do x, y = x + math.sin(n) * math.sqrt(n), y ~ (n * 2654435761) end
  print(string.format("%.10g %d", x, y), math.tointeger(3.0), math.ult(1, -1), 5 // 0.0, pcall(function() return 1 // 0 end))
end

if arg[1] then
  tests[arg[1]]()
else
  local names = {}
  for name in pairs(tests) do names[#names + 1] = name end
  table.sort(names)
  print(table.concat(names, "\n"))
end
