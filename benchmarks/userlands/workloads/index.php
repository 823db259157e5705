<?php // Files, processes, sockets and sessions in PHP.
$top = sys_get_temp_dir() . '/job' . getmypid() . $_GET['n'];
mkdir("$top/a/b", 0777, true);
file_put_contents("$top/a/b/file", str_repeat("text\n", 1000), LOCK_EX);
copy("$top/a/b/file", "$top/copy"); rename("$top/copy", "$top/moved"); chmod("$top/moved", 0640); touch("$top/moved", 1);
echo implode(' ', scandir($top)), ' ', decoct(fileperms("$top/moved")), ' ', filesize("$top/moved"), ' ', filemtime("$top/moved"), "\n";
foreach (["$top/moved", "$top/a/b/file"] as $file) unlink($file);
rmdir("$top/a/b"); rmdir("$top/a"); rmdir($top);
echo file_exists($top) ? 'left' : 'removed', "\n", shell_exec('echo shell'), gethostbyname('localhost'), "\n";
$process = proc_open('cat', [['pipe', 'r'], ['pipe', 'w']], $pipes);
fwrite($pipes[0], "through cat\n"); fclose($pipes[0]); echo stream_get_contents($pipes[1]); proc_close($process);
$server = stream_socket_server('tcp://127.0.0.1:0'); $client = stream_socket_client('tcp://' . stream_socket_get_name($server, false));
fwrite($client, "over a socket\n"); echo fgets(stream_socket_accept($server));
session_save_path('/tmp'); session_id('session'); session_start(); $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1; echo $_SESSION['n'], "\n";
usleep(100); echo strlen(random_bytes(8)), ' ', hash('sha256', 'text'), ' ', json_encode([1, 2]), ' ', date('Y', 86400), "\n";
