"""Containers: modules made of modules."""

from collections.abc import Mapping

from pynn.nn.module import Module


class Sequential(Module):
    """Modules called one after another.

    From modules in order, or from one dict of name to module. An index gives a module, a slice a
    Sequential of the same modules.
    """

    def __init__(self, *modules):
        super().__init__()
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], Mapping) else None
        for name, module in named.items() if named is not None else enumerate(modules):
            self.add_module(str(name), _checked("Sequential", module))

    def forward(self, x):
        values = self.__dict__
        for name, kind in self._kinds.items():
            if kind == "module":
                x = values[name](x)
        return x

    def append(self, module):
        """Add a module at the end; returns self."""
        self.add_module(_next_name(self), _checked("Sequential", module))
        return self

    def __getitem__(self, index):
        if isinstance(index, slice):
            names = _names(self)[index]
            return type(self)({name: self.__dict__[name] for name in names})
        return self.__dict__[_name_at(self, index)]

    def __setitem__(self, index, module):
        self.__dict__[_name_at(self, index)] = _checked("Sequential", module)

    def __len__(self):
        return len(_names(self))

    def __iter__(self):
        return iter([self.__dict__[name] for name in _names(self)])


class ModuleList(Module):
    """A list of modules that their owner counts as its own."""

    def __init__(self, modules=()):
        super().__init__()
        self.extend(modules)

    def append(self, module):
        """Add a module at the end; returns self."""
        self.add_module(_next_name(self), _checked("ModuleList", module))
        return self

    def extend(self, modules):
        """Add several modules at the end; returns self."""
        for module in modules:
            self.append(module)
        return self

    def __getitem__(self, index):
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self.__dict__[_name_at(self, index)]

    def __setitem__(self, index, module):
        self.__dict__[_name_at(self, index)] = _checked("ModuleList", module)

    def __len__(self):
        return len(_names(self))

    def __iter__(self):
        return iter([self.__dict__[name] for name in _names(self)])


class ModuleDict(Module):
    """A dict of modules that their owner counts as its own."""

    def __init__(self, modules=()):
        super().__init__()
        self.update(modules)

    def update(self, modules):
        """Add or replace modules by name, from a mapping or pairs."""
        for name, module in dict(modules).items():
            self[name] = module

    def __getitem__(self, name):
        if name not in self._kinds:
            raise KeyError(f"[ModuleDict] expected one of {_names(self)}, got {name!r}")
        return self.__dict__[name]

    def __setitem__(self, name, module):
        self.add_module(name, _checked("ModuleDict", module))

    def __delitem__(self, name):
        self[name]
        delattr(self, name)

    def __len__(self):
        return len(_names(self))

    def __iter__(self):
        return iter(_names(self))

    def __contains__(self, name):
        return name in self._kinds

    def keys(self):
        return _names(self)

    def values(self):
        return [self.__dict__[name] for name in _names(self)]

    def items(self):
        return [(name, self.__dict__[name]) for name in _names(self)]


def _checked(op, module):
    if not isinstance(module, Module):
        raise TypeError(f"[{op}] expected modules, got {type(module).__name__}")
    return module


def _names(container):
    return [name for name, kind in container._kinds.items() if kind == "module"]


def _next_name(container):
    """The first number from the length on that is no name yet: a slice keeps its modules' names."""
    number = len(container)
    while str(number) in container._kinds:
        number += 1
    return str(number)


def _name_at(container, index):
    names = _names(container)
    if not isinstance(index, int) or not -len(names) <= index < len(names):
        raise IndexError(
            f"[{type(container).__name__}] expected an index within {len(names)} modules, "
            f"got {index!r}"
        )
    return names[index]
