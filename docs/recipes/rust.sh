# A Rust server: the standard library's, with a thread for each connection.
prepare() {
    cat > server.rs <<'END'
use std::io::{Read, Write};
use std::{env, fs, net, process, thread};

fn answer(mut stream: net::TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4000];
    let length = stream.read(&mut request)?;
    let request = &request[..length];
    let body = if request.starts_with(b"GET /file ") {
        fs::read_to_string("numbers.txt")?
    } else if request.starts_with(b"GET /attack ") {
        format!("{:?}", process::Command::new("/usr/bin/id").output())
    } else {
        String::from("hello")
    };
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.len(), body)
}

fn main() {
    let listener = net::TcpListener::bind(env::args().nth(1).unwrap()).unwrap();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        thread::spawn(|| answer(stream));
    }
}
END
    rustc -O -o server server.rs
    seq 100000 > numbers.txt
}
program=(./server "127.0.0.1:$port")
use() {
    expect hello get /hello
    expect 100000 get /file
}
more() {
    load /hello 200
    load /file 50
}
attack() { expect PermissionDenied get /attack; }
