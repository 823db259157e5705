# needs: python3
exec python3 -c '
import ctypes, os
from filters import demo
demo.install()
try:
    os.mkdir("there")
except OSError as error:
    assert error.errno == 30, error
print("confined", flush=True)
ctypes.CDLL(None).personality(ctypes.c_ulong(0x123456789))
'
