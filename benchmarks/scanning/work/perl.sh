# loads: usr/lib/x86_64-linux-gnu/perl-base/auto/Fcntl/Fcntl.so usr/lib/x86_64-linux-gnu/perl-base/auto/File/Glob/Glob.so usr/lib/x86_64-linux-gnu/perl-base/auto/IO/IO.so usr/lib/x86_64-linux-gnu/perl-base/auto/List/Util/Util.so usr/lib/x86_64-linux-gnu/perl-base/auto/POSIX/POSIX.so usr/lib/x86_64-linux-gnu/perl-base/auto/Socket/Socket.so
# starts: usr/bin/dash usr/bin/echo
cat >some.pl <<'END'
use strict;
use warnings;
use Fcntl qw(:DEFAULT :flock :seek);
use IO::Handle;
use IO::Socket::INET;
use IO::Socket::UNIX;
use List::Util qw(sum);
use POSIX ();
use Socket;
$| = 1;
mkdir 'a' or die;
sysopen(my $file, 'a/file', O_RDWR | O_CREAT, 0600) or die;
flock($file, LOCK_EX) or die;
print $file "$_\n" for 1 .. 2000;
$file->flush;
$file->sync;
seek($file, 0, SEEK_SET);
chomp(my @lines = <$file>);
print sum(@lines), ' ', -s $file, "\n";
truncate($file, 10);
close $file;
rename 'a/file', 'a/other';
symlink 'other', 'a/link';
link 'a/other', 'a/hard';
chmod 0640, 'a/other';
utime 0, 0, 'a/other';
print readlink('a/link'), ' ', (stat 'a/other')[3, 7, 9], ' ', (-l 'a/link' ? 'link' : ''), "\n";
opendir(my $directory, 'a') or die;
print join(' ', sort grep !/^\./, readdir $directory), "\n";
closedir $directory;
unlink glob 'a/*';
rmdir 'a';
pipe(my $reading, my $writing);
defined(my $child = fork) or die;
unless ($child) { print $writing "child\n"; $writing->flush; POSIX::_exit(3) }
close $writing;
print scalar <$reading>;
waitpid $child, 0;
print $? >> 8, "\n";
print `echo "\$((6 * 7))"`, system('exit 2;') >> 8, "\n";
open(my $command, '-|', 'echo', 'piped') or die;
print <$command>;
close $command;
local $SIG{USR1} = sub { print "signal\n" };
kill 'USR1', $$;
eval { local $SIG{ALRM} = sub { die "alarm\n" }; alarm 1; select undef, undef, undef, 5; };
print $@;
my $server = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die;
unless ($child = fork) {
    my $peer = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->sockport) or die;
    print $peer "asked\n";
    print scalar <$peer>;
    POSIX::_exit(0);
}
my $peer = $server->accept;
print $peer uc <$peer>;
close $peer;
waitpid $child, 0;
socketpair(my $one, my $two, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die;
syswrite $one, 'pair';
sysread $two, my $got, 10;
print "$got\n";
my $local = IO::Socket::UNIX->new(Local => 's', Listen => 1) or die;
print -S 's' ? "socket\n" : '';
my $id = shmget(0, 100, 0600);
shmwrite($id, 'shared', 0, 6);
shmread($id, my $shared, 0, 6);
shmctl($id, 0, 0);
print "$shared\n";
print join(' ', (getpwuid 0)[0], (POSIX::uname())[0], getppid > 1, getpgrp > 0), "\n";
print POSIX::strftime('%Y', gmtime 0), ' ', (times)[0] >= 0, ' ', umask >= 0, "\n";
open(my $memory, '<', \"x\ny\n");
print scalar(() = <$memory>), ' ', length('x' x 1e7), "\n";
open(my $saved, '>&', \*STDOUT);
print $saved "saved\n";
chdir '/';
exec 'echo', 'executed';
END
"$PROGRAM" some.pl
seq 5 >numbers
"$PROGRAM" -i.kept -pe 's/3/three/' numbers
"$PROGRAM" -lane 'print $F[0] * 2' numbers numbers.kept 2>/dev/null
echo 'print 2 ** 40, "\n"' | "$PROGRAM" -
"$PROGRAM" -e 'die "bad\n"' || echo "ended with $?"
