# A Go server: net/http, which answers from memory and from a file.
prepare() {
    cat > main.go <<'END'
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	http.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
	http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "numbers.txt") })
	http.HandleFunc("/attack", func(w http.ResponseWriter, r *http.Request) {
		_, err := exec.Command("/usr/bin/id").Output()
		fmt.Fprint(w, err)
	})
	server := &http.Server{Addr: os.Args[1]}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go server.ListenAndServe()
	<-ended
	server.Shutdown(context.Background())
}
END
    printf 'module program\ngo 1.21\n' > go.mod
    GOTOOLCHAIN=local CGO_ENABLED=0 GOPATH=$PWD/path go build -o server .
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
    expect '404 page' get /missing
    get /file -r 10-20 | cmp - <(head -c 21 numbers.txt | tail -c 11)
    expect hello get /hello -d "$(seq 1000)"
}
attack() { expect 'operation not permitted' get /attack; }
