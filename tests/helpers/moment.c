// Raises a signal at a chosen instruction of Python code: a trace function that runs no Python code
// itself, so that the interpreter runs the handler where it would without being traced.

#include <signal.h>

extern int PyObject_SetAttrString(void *object, const char *name, void *value);
extern void PyEval_SetTrace(int (*function)(void *, void *, int, void *), void *argument);
extern char _Py_TrueStruct;

static long left;

static int trace(void *argument, void *frame, int event, void *value)
{
    (void)argument;
    (void)value;
    if (event == 0) // PyTrace_CALL
        return PyObject_SetAttrString(frame, "f_trace_opcodes", &_Py_TrueStruct);
    // PyTrace_LINE, and PyTrace_OPCODE, which CPython 3.12 does not give.
    if ((event == 2 || event == 7) && left-- == 0)
        raise(SIGALRM);
    return 0;
}

// Raises SIGALRM after `count` lines and instructions of functions called from now on.
void moment_start(long count)
{
    left = count;
    PyEval_SetTrace(trace, (void *)0);
}

// Returns whether the signal was raised.
int moment_stop(void)
{
    PyEval_SetTrace((void *)0, (void *)0);
    return left < 0;
}
