"""Programs for `test_script`: name -> source. Each is run by hand too, and must behave the same in the sandbox."""

SCRIPTS = {
    # leaving
    "exit": """print(input())
exit()""",
    "quit with a number": """print(input())
quit(0)""",
    "exit with a number": """print(input())
exit(3)""",
    "exit with a text": """print(input())
exit('bye')""",
    "exit with 256": """import sys
print(1)
sys.exit(256)""",
    "exit with True": """import sys
print(1)
sys.exit(True)""",
    "exit in a thread": """import threading, sys
threading.Thread(target=sys.exit, args=(4,)).start()
print(1)""",
    "os._exit without a flush": """import os
print(1)
os._exit(0)""",
    "what site adds": """copyright, credits, license, help
print(1)""",
    "an except hook of its own": """import sys
sys.excepthook = lambda *a: print('hooked')
print(1)
1 / 0""",
    # the end of the process
    "a thread that is not joined": """import threading, time
def main():
    time.sleep(0.1)
    print(input())
threading.Thread(target=main).start()""",
    "a timer": """import threading
threading.Timer(0.05, lambda: print(input())).start()""",
    "a daemon thread": """import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(1)""",
    "an executor": """from concurrent.futures import ThreadPoolExecutor
ThreadPoolExecutor(2).submit(lambda: print(input()))""",
    "exit handlers, last first": """import atexit
atexit.register(print, 'a')
atexit.register(lambda: print(input()))
print('b')""",
    "an exit handler that raises": """import atexit
atexit.register(print, 'a')
atexit.register(lambda: 1 / 0)""",
    "exit handlers after an exception": """import atexit
atexit.register(print, 'a')
1 / 0""",
    "a finalizer": """import weakref
class A: pass
a = A()
weakref.finalize(a, print, input())""",
    "__del__ of a global": """class A:
    def __del__(self): print(self.x)
a = A()
a.x = input()""",
    "__del__ in a cycle": """class A:
    def __del__(self): print('gone')
a = A()
a.a = a
a = None""",
    "__del__ in the order of their names": """class A:
    def __init__(self, x): self.x = x
    def __del__(self): print(self.x)
b, _a, c = A(1), A(2), A(3)""",
    "__del__ of what a function holds": """class A:
    def __del__(self): print('gone')
def f(a=A()): return a""",
    "__del__ of what builtins hold": """import builtins
class A:
    def __del__(self): print('gone')
builtins.kept = A()""",
    "__del__ of what another module holds": """import random
class A:
    def __del__(self): print('gone')
random.kept = A()""",
    "a generator that is not finished": """def g():
    try:
        yield 1
    finally:
        print('closed')
it = g()
print(next(it))""",
    "an open file on standard output": """out = open(1, 'w')
out.write(input())""",
    "one that is in a cycle": """class A: pass
a = A()
a.out, a.me = open(1, 'w', closefd=False), a
a.out.write(input())""",
    "a buffer over standard output": """import io
out = io.BufferedWriter(io.FileIO(1, 'w'))
out.write(b'x')""",
    "C's own buffer": """import ctypes
ctypes.CDLL(None).printf(b'from C')""",
    "replaced output that an exit handler writes": """import atexit, io, sys
sys.stdout = io.StringIO()
atexit.register(lambda: sys.__stdout__.write(sys.stdout.getvalue()))
print(input())""",
    "replaced output that is a wrapper": """import io, sys
sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, 'w', closefd=False)))
print(input())""",
    "closed output": """import sys
print(1)
sys.stdout.close()""",
    "closed descriptor": """import os
print(1)
os.close(1)""",
    # what a program is
    "__main__": """import __main__, sys
x = 5
print(__main__.x, sys.modules['__main__'].__name__, __name__, __spec__, __package__)""",
    "builtins": """print(__builtins__.sum([1, 2]), type(__builtins__).__name__)""",
    "its names": """print(sorted(globals()))""",
    "its doc string": """'about'
print(__doc__)""",
    "annotations": """x: int = 3
print(__annotations__)""",
    "its file": """import os, sys
print(os.path.basename(__file__), os.path.isabs(__file__), len(open(__file__).read()))
print(sys.argv == ['program.py'], sys.path[0] == os.path.dirname(__file__))""",
    "its own source": """import inspect
def f(x):
    return x
print(inspect.getsource(f))""",
    "pickle of its own classes": """import pickle
class A:
    def __eq__(self, other): return type(other) is A
print(pickle.loads(pickle.dumps(A())) == A())""",
    "processes that fork": """from multiprocessing import Pool
class A:
    def __init__(self, x): self.x = x
def f(a): return A(a.x + 1)
if __name__ == '__main__':
    with Pool(2) as pool: print([a.x for a in pool.map(f, [A(1), A(2)])])""",
    "processes that are spawned": """import multiprocessing
class A:
    def __init__(self, x): self.x = x
def f(a, queue): queue.put(A(a.x + 1))
if __name__ == '__main__':
    spawning = multiprocessing.get_context('spawn')
    queue = spawning.Queue()
    process = spawning.Process(target=f, args=(A(1), queue))
    process.start()
    print(queue.get().x)
    process.join()""",
    "an event loop": """import asyncio
async def main():
    return await asyncio.gather(*(asyncio.sleep(0.01, i) for i in range(3))), await asyncio.to_thread(sum, (1, 2))
print(asyncio.run(main()))""",
    "itself again": """import subprocess, sys
again = [sys.executable, __file__, 'x']
print(subprocess.run(again, capture_output=True, text=True).stdout if len(sys.argv) == 1 else sys.argv[1])""",
    "modules of the sandbox": """try:
    import sandbox_calls
except ImportError: print('none')""",
    "how deep it can go": """def f(n):
    global deepest
    deepest = n
    f(n + 1)
try:
    f(0)
except RecursionError: print(deepest)""",
    # streams
    "what streams are": """import sys
for s in (sys.stdin, sys.stdout): print(s.name, s.mode, s.encoding, s.buffer.raw.name, type(s.buffer))
print(sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stdin.isatty(), sys.stdin.seekable())""",
    "bytes of the input": """import sys
print(sys.stdin.buffer.readline(), sys.stdin.buffer.peek(1)[:1], sys.stdin.buffer.read())""",
    "the input read twice": """import sys
print(sys.stdin.read())
sys.stdin.seek(0)
print(sys.stdin.read())""",
    "the input by its size": """import os
print(os.read(0, os.fstat(0).st_size))""",
    "the input as a file": """print(open('/dev/stdin').read(), open(0).read())""",
    "a surrogate": r"""print('\ud800')""",
    "an interrupt": """import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
except KeyboardInterrupt: print('caught')""",
    "a stack of half a gigabyte": """import threading
threading.stack_size(2**29)
t = threading.Thread(target=lambda: print(input()))
t.start()
t.join()""",
}
