# needs: go
# long: builds Go's standard library
cat > go.mod <<'END'
module example.org/main

go 1.21
END
cat > main.go <<'END'
package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"example.org/main/filters/demo"
)

func main() {
	if err := demo.Install(); err != nil {
		panic(err)
	}
	if err := os.Mkdir("there", 0700); !errors.Is(err, syscall.EROFS) {
		panic(err)
	}
	fmt.Println("confined")
	syscall.RawSyscall(syscall.SYS_PERSONALITY, 0x123456789, 0, 0)
}
END
# No network: neither modules nor another toolchain.
GOPROXY=off GOTOOLCHAIN=local go build -o main . && exec ./main
