"""Terminals: programs on a pseudo-terminal that outlive whoever looks at them.

    ring, modes, replay     what came out, what state it left a terminal in, how to show it again
    chord, sizes, frames    what a viewer types, how large it is, how it speaks (RFC 6455)
    gather                  a flood, read without the lock of the interpreter
    hub                     one output, any number of viewers at their own pace
    pty, session            the descriptor, and the actor that owns program and descriptor
    opening, streamed       starting and finding sessions; commands without a terminal
    driven, screen          a session in a program's hands; its screen as text

The first two lines are pure. Raw bytes are the truth; an emulator (`screen`) is a view on them that
only those pay for who ask: inline it would cost a factor of 50.
"""
