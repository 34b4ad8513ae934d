"""What every op of the `rlx` dialect shares: declaration, verification, building.

An op is one class in one file. It declares

* operands and the result, as annotations: ``input: Operand``, ``mask: OptionalOperand = None``;
* attributes, as :class:`Attr` fields that know kind, default and documentation;
* ``verify_op``: raises :class:`Invalid` with what was expected and what was found;
* ``result_type``: the type that operands and attributes imply, for the builder;
* ``reference``: the op on NumPy arrays, in float64 when the inputs are;
* ``lower``: the same with linalg on tensors, for any static or dynamic shape;
* ``EXAMPLE``: a use of the op in MLIR text, for the documentation.

Note for editors of op files: ``from __future__ import annotations`` would hide the annotations from
the host.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any, Optional

from rlx.host import ext, ir, irdl

__all__ = [
    "NAMESPACE",
    "Attr",
    "Invalid",
    "Operand",
    "OptionalOperand",
    "Pure",
    "Result",
    "Rlx",
    "RlxOp",
    "VariadicOperand",
]

NAMESPACE = "rlx"
SEGMENTS = "operandSegmentSizes"

Operand = ir.Value[ir.RankedTensorType]
OptionalOperand = Optional[ir.Value[ir.RankedTensorType]]  # noqa: UP045 -- the host matches Optional only
VariadicOperand = Sequence[ir.Value[ir.RankedTensorType]]
Result = ir.OpResult[ir.RankedTensorType]


class Invalid(ValueError):
    """An op breaks its contract. The text completes the sentence "'rlx.x' op ..."."""


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()

Scalar = bool | int | float | str

_IRDL_KINDS = {
    bool: ir.IntegerAttr,
    int: ir.IntegerAttr,
    float: ir.FloatAttr,
    str: ir.StringAttr,
}


class Attr:
    """An attribute of an op.

    Args:
        kind: ``int`` (i64), ``float`` (f64), ``bool`` or ``str``.
        doc: one sentence.
        default: the value that an absent attribute stands for, or a function of the op that
            computes it; ``None`` means that absence has a meaning of its own (see the docs).
        choices: the allowed values of a ``str``.
        default_text: the default in words, where it is computed or ``None``.

    On an instance of the op the field reads as a Python value, defaults included. It is the only
    way in which verifiers, passes and lowerings read attributes.
    """

    def __init__(
        self,
        kind: type,
        doc: str,
        *,
        default: Scalar | Callable[[Any], Scalar | None] | _Required | None = REQUIRED,
        choices: tuple[str, ...] = (),
        default_text: str = "",
    ):
        self.kind = kind
        self.doc = doc
        self.default = default
        self.choices = choices
        self.default_text = default_text
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def __get__(self, op: Any, owner: type | None = None) -> Any:
        if op is None:
            return self
        if self.name not in op.attributes:
            return self.default(op) if callable(self.default) else self.default
        return self.decode(op.attributes[self.name])

    def decode(self, attribute: ir.Attribute) -> Scalar:
        """The Python value of ``attribute``.

        Raises:
            Invalid: it is of another kind.
        """
        if self.kind is bool and isinstance(attribute, ir.BoolAttr):
            return attribute.value
        if self.kind is int and isinstance(attribute, ir.IntegerAttr) and _is_i64(attribute.type):
            return attribute.value
        if self.kind is float and isinstance(attribute, ir.FloatAttr):
            return attribute.value
        if self.kind is str and isinstance(attribute, ir.StringAttr):
            return attribute.value_bytes.decode(errors="backslashreplace")
        raise Invalid(f"attribute '{self.name}' must be {self.spelling}, but got {attribute}")

    def encode(self, value: Scalar) -> ir.Attribute:
        """The MLIR attribute for ``value``.

        Raises:
            TypeError: ``value`` is of another kind.
        """
        if self.kind is bool and isinstance(value, bool):
            return ir.BoolAttr.get(value)
        if self.kind is int and isinstance(value, int) and not isinstance(value, bool):
            return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)
        if self.kind is float and isinstance(value, float | int) and not isinstance(value, bool):
            return ir.FloatAttr.get(ir.F64Type.get(), float(value))
        if self.kind is str and isinstance(value, str):
            return ir.StringAttr.get(value)
        raise TypeError(f"attribute '{self.name}' must be {self.spelling}, but got {value!r}")

    @property
    def spelling(self) -> str:
        """The kind in MLIR's words."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        return {bool: "a bool", int: "an i64 integer", float: "a float", str: "a string"}[self.kind]

    def check(self, op: Any) -> None:
        """Raises :class:`Invalid` when the attribute is absent, of another kind or not finite."""
        if self.name not in op.attributes:
            if self.required:
                raise Invalid(f"requires attribute '{self.name}' ({self.spelling})")
            return
        attribute = op.attributes[self.name]
        value = self.decode(attribute)
        if self.choices and value not in self.choices:
            raise Invalid(f"attribute '{self.name}' must be {self.spelling}, but got {attribute}")
        if isinstance(value, float) and not math.isfinite(value):
            raise Invalid(f"attribute '{self.name}' must be finite, but got {attribute}")


def _is_i64(type: ir.Type) -> bool:
    return isinstance(type, ir.IntegerType) and type.width == 64 and type.is_signless


class Rlx(ext.Dialect, name=NAMESPACE):  # type: ignore[call-arg]
    """Transformer blocks as ops on tensors."""


class Pure:
    """Trait: the op touches no memory and may be speculated, merged and removed."""

    @staticmethod
    def attach(op_name: str) -> None:
        ext.Pure.attach(op_name)


class RlxOp(Rlx.Operation):  # type: ignore[name-defined]
    """Base of all rlx ops. See the module's docstring for what a subclass declares."""

    # Not annotated, since the host takes every annotation for an operand, result or attribute.
    ATTRS = {}  # type: dict[str, Attr]
    OPERANDS = []  # type: list[ext.OperandDef]
    EXAMPLE = ""  # one use of the op in MLIR text, for the documentation

    @classmethod
    def _generate_init_method(cls, fields: list[Any]) -> None:
        """Ops are built with :meth:`create`, so the host need not generate a constructor."""

    @classmethod
    def __init_subclass__(cls, **kwargs: Any) -> None:
        cls.ATTRS = {
            name: value
            for base in reversed(cls.__mro__)
            for name, value in vars(base).items()
            if isinstance(value, Attr)
        }
        # Before the host registers the op for good.
        for name in (*cls.ATTRS, *(n for n in cls.__annotations__ if n != "result")):
            if hasattr(RlxOp, name):
                raise TypeError(f"{cls.__name__}: the name '{name}' is taken by the base class")
        for other in Rlx.operations:
            if other._op_name == kwargs.get("name"):
                raise TypeError(f"{cls.__name__}: {other.OPERATION_NAME} is already defined")
        super().__init_subclass__(traits=[Pure], **kwargs)
        cls.OPERANDS = [f for f in cls._fields if isinstance(f, ext.OperandDef)]
        for index, declared in enumerate(cls.OPERANDS):
            setattr(cls, declared.name, property(_operand_getter(index)))

    @classmethod
    def has_segments(cls) -> bool:
        """Whether `operandSegmentSizes` says which operands are present."""
        return sum(f.variadicity != irdl.Variadicity.single for f in cls.OPERANDS) > 1

    # -- IRDL ------------------------------------------------------------------------------------

    @classmethod
    def _emit_operation(cls) -> None:
        # The host declares attributes through annotations, which cannot be optional: required
        # ones join for the emission, optional ones are left to the verifier.
        declared = cls._fields
        required = [
            ext.AttributeDef(name, irdl.Variadicity.single, _IRDL_KINDS[attr.kind])
            for name, attr in cls.ATTRS.items()
            if attr.required
        ]
        cls._fields = [*declared, *required]
        try:
            super()._emit_operation()
        finally:
            cls._fields = declared

    # -- verification ----------------------------------------------------------------------------

    @staticmethod
    def verify_invariants(op: Any) -> bool:
        """Called by MLIR's verifier, before the host's own checks."""
        try:
            _check_structure(op)
            _check_types(op)
            for attr in op.ATTRS.values():
                attr.check(op)
            with op.location:
                op.verify_op()
            return True
        except Invalid as error:
            message = str(error)
        except Exception as error:
            # MLIR cannot carry a Python exception to the user, so it becomes a diagnostic.
            message = f"failed to verify: {type(error).__name__}: {error}"
        op.location.emit_error(f"'{op.OPERATION_NAME}' op {message}")
        return False

    def verify_op(self) -> None:
        """Checks what is particular to the op; kinds of attributes and operands already hold."""

    # -- building --------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        *operands: ir.Value | Sequence[ir.Value] | None,
        result_type: ir.Type | None = None,
        loc: ir.Location | None = None,
        ip: ir.InsertionPoint | None = None,
        **attrs: Scalar | None,
    ) -> ir.Value:
        """Builds the op and returns its result.

        Attributes that are ``None`` or hold their default are left out. The result type is
        inferred when not given.

        Raises:
            Invalid: the result type cannot be inferred.
            TypeError: an attribute is unknown or of another kind.
        """
        for name in attrs:
            if name not in cls.ATTRS:
                raise TypeError(f"'{cls.OPERATION_NAME}' {_no_attribute(cls, name)}")
        flat: list[ir.Value] = []
        sizes: list[int] = []
        for operand in operands:
            group = [] if operand is None else [operand]
            if isinstance(operand, list | tuple):
                group = list(operand)
            flat += group
            sizes.append(len(group))
        sizes += [0] * (len(cls.OPERANDS) - len(sizes))
        attributes = {
            name: cls.ATTRS[name].encode(value)
            for name, value in attrs.items()
            if value is not None
        }
        for name in [n for n in attributes if not callable(cls.ATTRS[n].default)]:
            if cls.ATTRS[name].decode(attributes[name]) == cls.ATTRS[name].default:
                del attributes[name]
        if cls.has_segments():
            attributes[SEGMENTS] = ir.DenseI32ArrayAttr.get(sizes)
        if result_type is None:
            given = {name: value for name, value in attrs.items() if value is not None}
            result_type = cls.result_type(*operands, **given)
        op = ir.Operation.create(
            cls.OPERATION_NAME,
            results=[result_type],
            operands=flat,
            attributes=attributes,
            loc=loc,
            ip=ip,
        )
        view: Any = op.opview
        for name in list(attributes):
            attr = cls.ATTRS.get(name)
            if attr is not None and callable(attr.default):
                value = attr.decode(attributes[name])
                del view.operation.attributes[name]
                if attr.default(view) != value:
                    view.operation.attributes[name] = attributes[name]
        return op.results[0]

    @classmethod
    def result_type(cls, *operands: Any, **attrs: Any) -> ir.Type:
        """The result type that operands and attributes imply."""
        raise NotImplementedError

    # -- meaning ---------------------------------------------------------------------------------

    @staticmethod
    def reference(*arrays: Any, **attrs: Any) -> Any:
        """The op on NumPy arrays."""
        raise NotImplementedError

    def lower(self) -> ir.Value:
        """Emits linalg at the current insertion point and returns the value of the result."""
        raise NotImplementedError

    @property
    def attrs(self) -> dict[str, Any]:
        """All attributes as Python values, defaults filled in."""
        return {name: getattr(self, name) for name in self.ATTRS}


def _operand_getter(index: int) -> Callable[[Any], Any]:
    def get(op: Any) -> Any:
        operands = list(op.operation.operands)
        kinds = [declared.variadicity for declared in op.OPERANDS]
        if op.has_segments():
            sizes = list(op.attributes[SEGMENTS])
        else:
            spare = len(operands) - sum(kind == irdl.Variadicity.single for kind in kinds)
            sizes = [1 if kind == irdl.Variadicity.single else spare for kind in kinds]
        start = sum(sizes[:index])
        group = operands[start : start + sizes[index]]
        if kinds[index] == irdl.Variadicity.variadic:
            return group
        return group[0] if group else None

    return get


def _plural(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _check_structure(op: Any) -> None:
    """Counts of operands, results, regions and successors, and the names of attributes."""
    operation = op.operation
    for things, wanted, noun in (
        (operation.results, 1, "result"),
        (operation.regions, 0, "region"),
        (operation.successors, 0, "successor"),
    ):
        if len(things) != wanted:
            raise Invalid(f"expects {_plural(wanted, noun)}, but got {len(things)}")
    for attribute in operation.attributes:
        _check_name(op, attribute if isinstance(attribute, str) else attribute.name)
    _check_operand_count(op)


def _check_name(op: Any, name: str) -> None:
    # A name with a dot belongs to the dialect in front of it, and is allowed on every op.
    if name in op.ATTRS or "." in name or (name == SEGMENTS and op.has_segments()):
        return
    raise Invalid(_no_attribute(op, name))


def _no_attribute(op: Any, name: str) -> str:
    near = difflib.get_close_matches(name, op.ATTRS, 1)
    known = ", ".join(f"'{known}'" for known in op.ATTRS) or "none"
    hint = f"; did you mean '{near[0]}'?" if near else f"; its attributes: {known}"
    return f"has no attribute '{name}'{hint}"


def _check_operand_count(op: Any) -> None:
    count = len(op.operation.operands)
    single, optional = irdl.Variadicity.single, irdl.Variadicity.optional
    kinds = [declared.variadicity for declared in op.OPERANDS]
    if op.has_segments():
        names = ", ".join(declared.name for declared in op.OPERANDS)
        sizes = op.attributes.get(SEGMENTS)
        if not isinstance(sizes, ir.DenseI32ArrayAttr) or len(sizes) != len(kinds):
            raise Invalid(
                f"expects {SEGMENTS} with {len(kinds)} i32 elements ({names}), but got "
                f"{'none' if sizes is None else sizes}"
            )
        for declared, size in zip(op.OPERANDS, sizes, strict=True):
            allowed = {single: size == 1, optional: size in (0, 1)}
            if not allowed.get(declared.variadicity, size >= 0):
                wanted = {single: "1", optional: "0 or 1"}.get(declared.variadicity, "0 or more")
                raise Invalid(
                    f"expects {wanted} operands for {declared.name} in {SEGMENTS}, but got {size}"
                )
        if sum(sizes) != count:
            raise Invalid(f"expects as many operands as {SEGMENTS} adds up to, but got {count}")
        return
    least = sum(kind == single for kind in kinds)
    most = len(kinds) if set(kinds) <= {single, optional} else None
    if count < least or (most is not None and count > most):
        names = ", ".join(f.name if f.variadicity == single else f"[{f.name}]" for f in op.OPERANDS)
        raise Invalid(f"expects operands ({names}), but got {_plural(count, 'operand')}")


def _check_types(op: Any) -> None:
    """Operands and result must be ranked tensors in the plain layout."""
    named = []
    for declared in op.OPERANDS:
        value = getattr(op, declared.name)
        group = value if isinstance(value, list) else [value]
        named += [(declared.name, member) for member in group if member is not None]
    for name, value in (*named, ("result", op.operation.results[0])):
        if not isinstance(value.type, ir.RankedTensorType) or value.type.encoding is not None:
            raise Invalid(f"expects {name} to be a ranked tensor, but got {value.type}")
