"""`rlx-export`: what callers outside of the module need."""

from dataclasses import dataclass

from rlx.host import ir
from rlx.passes.base import Pass
from rlx.passes.functions import attributes_of, functions, is_public, set_attributes

__all__ = ["DONATED", "WRITABLE", "Export"]

WRITABLE = "bufferization.writable"
"""Argument attribute: whether the function may write into the caller's buffer."""

DONATED = "rlx.donated"
"""The same once bufferization has consumed the other, which it does."""


@dataclass(frozen=True)
class Export(Pass):
    """Gives public functions a C interface and protects their arguments.

    Private functions get internal linkage, so that LLVM may change how they are called. A caller's
    buffer is never written to, unless the argument says `bufferization.writable = true`.
    """

    name = "rlx-export"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        for function in functions(op):
            if function.is_external:
                continue
            if not is_public(function):
                with op.context:
                    internal = ir.Attribute.parse("#llvm.linkage<internal>")
                    function.attributes["llvm.linkage"] = internal
                continue
            with op.context:
                function.attributes["llvm.emit_c_interface"] = ir.UnitAttr.get()
                attributes = attributes_of(function, "arg_attrs")
                for type_, fields in zip(function.type.inputs, attributes, strict=True):
                    if isinstance(type_, ir.RankedTensorType):
                        fields.setdefault(WRITABLE, ir.BoolAttr.get(False))
                        if ir.BoolAttr(fields[WRITABLE]).value:
                            fields[DONATED] = ir.UnitAttr.get()
                set_attributes(function, "arg_attrs", attributes)
