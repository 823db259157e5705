# Files, threads, processes and sockets in Ruby.
require 'fileutils'; require 'tmpdir'; require 'socket'; require 'open3'; require 'digest'; require 'securerandom'; require 'timeout'; require 'json'
$stdout.sync = true
Dir.mktmpdir do |top|
  FileUtils.mkdir_p("#{top}/a/b")
  File.write("#{top}/a/b/file", "text\n" * 1000)
  FileUtils.cp_r("#{top}/a", "#{top}/c")
  FileUtils.mv("#{top}/c/b/file", "#{top}/moved")
  File.chmod(0o640, "#{top}/moved"); File.symlink('moved', "#{top}/link")
  IO.copy_stream("#{top}/moved", "#{top}/streamed")
  puts Dir.glob('**/*', base: top).sort.join(' '), format('%o', File.stat("#{top}/moved").mode), File.size("#{top}/streamed")
end
puts (1..8).map { |n| Thread.new { sleep 0.01; n * n } }.map(&:value).join(' ')
queue = Queue.new; reader = Thread.new { 3.times.map { queue.pop } }; 3.times { |n| queue << n }; puts reader.value.inspect
pid = fork { exit! 3 }; Process.wait(pid); puts "child #{$?.exitstatus}"
puts Open3.capture2('cat', stdin_data: 'through cat')[0], `echo shell`, system('exit 4').inspect
server = TCPServer.new('127.0.0.1', 0)
serving = Thread.new { one = server.accept; one.puts one.gets.upcase; one.close }
TCPSocket.open('localhost', server.addr[1]) { |one| one.puts 'question'; puts one.gets }
serving.join
puts Digest::SHA256.hexdigest('text'), SecureRandom.hex(4).size, JSON.generate({ 'a' => [1] })
begin; Timeout.timeout(0.05) { sleep 5 }; rescue Timeout::Error; puts 'timed out'; end
trap('USR1') { puts 'signal' }; Process.kill('USR1', Process.pid); sleep 0.05
GC.start; GC.compact if GC.respond_to?(:compact); puts Fiber.new { Fiber.yield 1 }.resume
