"""OpenTelemetry's spans as events: those that a convention knows become work, all others stay spans.

A span says what it is when it ends, children before their parents and in any number of requests; so what a span means
is decided from itself and its resource alone (`conventions`, one table), and its events have ids that follow from its
own, so that a repeat changes nothing. Only which span stands for the run as a whole may need two spans to tell, and
that is remembered for a while, in bounded memory (`runs`).
"""
