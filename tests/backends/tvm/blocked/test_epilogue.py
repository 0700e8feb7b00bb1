"""What sums may start from instead of zero."""

from __future__ import annotations

from edgecls.backends.tvm.blocked.epilogue import Epilogue
from edgecls.backends.tvm.blocked.expression import TILE, Apply, Operand

BIAS, OTHER = Operand(0, "channel"), Operand(1, "full")
BIASED = Apply("add", (TILE, BIAS))


def test_a_bias_is_where_the_sums_start() -> None:
    for added in (BIASED, Apply("add", (BIAS, TILE))):
        epilogue = Epilogue.of(Apply("relu", (added,)), 1, True)
        assert (epilogue.bias, epilogue.expression) == (BIAS, Apply("relu", (TILE,)))
        assert epilogue.operands == (BIAS,)


def test_a_bias_that_is_used_twice_is_added_once() -> None:
    twice = Apply("multiply", (BIASED, Apply("tanh", (BIASED,))))
    assert Epilogue.of(twice, 1, True).expression == Apply("multiply", (TILE, Apply("tanh", (TILE,))))


def test_silu_is_one_function_in_either_order() -> None:
    sigmoid = Apply("sigmoid", (BIASED,))
    for factors in ((BIASED, sigmoid), (sigmoid, BIASED)):
        assert Epilogue.of(Apply("multiply", factors), 1, True).expression == Apply("silu", (TILE,))
    other = Apply("multiply", (OTHER, Apply("sigmoid", (TILE,))))
    assert Epilogue.of(other, 1, True).expression == other


def test_what_is_no_bias_stays() -> None:
    for expression in (Apply("add", (TILE, OTHER)), Apply("multiply", (TILE, BIAS)), Apply("subtract", (TILE, BIAS)),
                       Apply("multiply", (TILE, BIASED)), Apply("add", (Apply("relu", (TILE,)), BIAS))):
        epilogue = Epilogue.of(expression, 1, True)
        assert (epilogue.bias, epilogue.expression) == (None, expression)


def test_a_kernel_without_sums_adds_it_at_the_end() -> None:
    epilogue = Epilogue.of(BIASED, 1, False)
    assert (epilogue.bias, epilogue.expression, epilogue.operands) == (None, BIASED, (BIAS,))
