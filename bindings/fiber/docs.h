/* docs.h - what help() says about the types and functions of holdfast._fiber.
 *
 * NumPy style; types are in holdfast/_fiber.pyi, the whole story in docs/python-fibers.md.
 * Talks to    nobody.   Called by fiber.c, stack_pool.c. */
#ifndef HOLDFAST_FIBER_DOCS_H
#define HOLDFAST_FIBER_DOCS_H

#define DOC_FIBER                                                                                  \
    "Fiber(function, *, stack_size=None, name=None, pool=None, context=None)\n--\n\n"              \
    "A function with a C stack of its own that stops in the middle and goes on later.\n\n"         \
    "Parameters\n----------\n"                                                                     \
    "function : callable\n"                                                                        \
    "    Called by the first `resume`, with its arguments.\n"                                      \
    "stack_size : int or str, optional\n"                                                          \
    "    Usable bytes of C stack, 128 KiB to 64 GiB; ``\"1 MiB\"`` works. Default 256 KiB. One\n"  \
    "    level of recursion in C is allowed per KiB.\n"                                            \
    "name : str, optional\n"                                                                       \
    "    For reports and `repr`; the function's name is reported otherwise.\n"                     \
    "pool : StackPool, optional\n"                                                                 \
    "    Where the stack comes from; instead of `stack_size`.\n"                                   \
    "context : contextvars.Context, optional\n"                                                    \
    "    Of the fiber; a copy of the current one by default.\n\n"                                  \
    "Raises\n------\n"                                                                             \
    "UnsupportedError\n"                                                                           \
    "    This interpreter is not one whose inside is known.\n"                                     \
    "InvalidArgumentError\n"                                                                       \
    "    The size is no size or out of range.\n\n"                                                 \
    "Iterating resumes with None and gives what is suspended with. A suspended fiber that "        \
    "nobody\n"                                                                                     \
    "refers to is closed."

#define DOC_RESUME                                                                                 \
    "resume($self, /, *args, **kwargs)\n--\n\n"                                                    \
    "Start the fiber, or go on where it suspended.\n\n"                                            \
    "Parameters\n----------\n"                                                                     \
    "*args, **kwargs\n"                                                                            \
    "    The first time: arguments of the function. Later: at most one value, which `suspend`\n"   \
    "    returns.\n\n"                                                                             \
    "Returns\n-------\n"                                                                           \
    "object\n"                                                                                     \
    "    What the fiber suspends with, or what its function returns; `state` tells which.\n\n"     \
    "Raises\n------\n"                                                                             \
    "InvalidArgumentError\n"                                                                       \
    "    The fiber is running, waiting, finished, lost, or another thread started it.\n"           \
    "OutOfMemoryError\n"                                                                           \
    "    There is no stack for it.\n"                                                              \
    "Exception\n"                                                                                  \
    "    Whatever the function raises."

#define DOC_THROW                                                                                  \
    "throw($self, exception, /)\n--\n\n"                                                           \
    "Raise an exception where the fiber suspended, and go on like `resume`.\n\n"                   \
    "Parameters\n----------\n"                                                                     \
    "exception : BaseException or class of them\n"                                                 \
    "    A fiber that is new ends at once and the exception comes straight back."

#define DOC_CLOSE                                                                                  \
    "close($self, /)\n--\n\n"                                                                      \
    "Unwind the fiber: raise GeneratorExit where it suspended.\n\n"                                \
    "Returns\n-------\n"                                                                           \
    "object\n"                                                                                     \
    "    What the function returns if it catches that; None otherwise, and when it was finished\n" \
    "    before or never started.\n\n"                                                             \
    "Raises\n------\n"                                                                             \
    "RuntimeError\n"                                                                               \
    "    The fiber suspended again."

#define DOC_SUSPEND                                                                                \
    "suspend(value=None, /)\n--\n\n"                                                               \
    "Leave the running fiber; `value` is what its `resume` returns.\n\n"                           \
    "Works at any depth: from functions called by the fiber's, in Python or in C, such as a "      \
    "sort\n"                                                                                       \
    "key or a callback.\n\n"                                                                       \
    "Returns\n-------\n"                                                                           \
    "object\n"                                                                                     \
    "    The value of the next `resume`.\n\n"                                                      \
    "Raises\n------\n"                                                                             \
    "InvalidArgumentError\n"                                                                       \
    "    No fiber is running on this thread.\n"                                                    \
    "Exception\n"                                                                                  \
    "    What was thrown in; GeneratorExit when the fiber is closed."

#define DOC_CURRENT                                                                                \
    "current()\n--\n\n"                                                                            \
    "The fiber that runs on this thread, or None."

#define DOC_STATE                                                                                  \
    "``'new'``, ``'suspended'``, ``'running'``, ``'waiting'`` (it resumed another one),\n"         \
    "``'finished'`` or ``'lost'`` (its thread is gone, or it refused to be closed)."
#define DOC_NAME       "As given; empty otherwise."
#define DOC_STACK_SIZE "Usable bytes of its C stack."
#define DOC_FRAME      "The Python frame in which it is suspended, or None."
#define DOC_HIGH_WATER                                                                             \
    "Most bytes of its C stack in use so far, in whole pages (exact from a painting pool); 0\n"    \
    "while it has none."

#define DOC_RUN_ON_STACK                                                                           \
    "run_on_stack(stack, function, /, *args, **kwargs)\n--\n\n"                                    \
    "See holdfast.run_on_stack."

#define DOC_POOL_CLOSE                                                                             \
    "close($self, /)\n--\n\n"                                                                      \
    "Unmap all stacks.\n\n"                                                                        \
    "Raises\n------\n"                                                                             \
    "BusyError\n"                                                                                  \
    "    Some are in use; nothing happens then."
#define DOC_POOL_TRIM                                                                              \
    "trim($self, /)\n--\n\n"                                                                       \
    "Give the memory of all idle stacks back to the system.\n\n"                                   \
    "Returns\n-------\n"                                                                           \
    "int\n"                                                                                        \
    "    Bytes given back."

#endif
