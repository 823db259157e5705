// Command host starts a command confined.
package main

//go:generate seccompgen build untrusted.yml --format go -o internal

import (
	"fmt"
	"os"

	"example.org/host/confined"
)

func main() {
	child := confined.Command(os.Args[1], os.Args[2:]...)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.Run()
	fmt.Println("host:", child.ProcessState)
}
