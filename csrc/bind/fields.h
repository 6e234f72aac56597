// Structs and plain Python values: one table of fields a struct, used in both directions.
//
//   template <> struct Fields<Span> {
//     static constexpr const char* kName = "Span";
//     static constexpr auto kRows = std::array{row<Span, &Span::step>("step"), ...};
//   };
//
// dict_of(span) makes {"step": ..., ...}; struct_of<Span>(dict) reads one, keeps the default of a
// field that is not there, and names the field that is unknown or of another type.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <array>
#include <concepts>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"

namespace irt {

namespace nb = nanobind;

// The table of a struct, and the names of an enum's values: specialised where they are bound.
template <class Struct>
struct Fields;
template <class Enum>
struct Names;  // static constexpr std::array<std::pair<const char*, Enum>, N> kRows

template <class Struct>
struct Field {
  const char* name;
  nb::object (*get)(const Struct&);            // null: it is only read from Python
  void (*set)(Struct&, nb::handle) = nullptr;  // null: it is only told to Python
};

// A value that does not fit; `path` grows outwards, field by field.
struct BadValue {
  std::string path;
  std::string give;
};

namespace detail {

template <class T>
concept HasFields = requires { Fields<T>::kRows; };
template <class T>
inline constexpr bool kOptional = false;
template <class T>
inline constexpr bool kOptional<std::optional<T>> = true;
template <class T>
inline constexpr bool kList = false;
template <class T>
inline constexpr bool kList<std::vector<T>> = true;
template <class T>
inline constexpr bool kArray = false;
template <class T, std::size_t N>
inline constexpr bool kArray<std::array<T, N>> = true;

template <auto First, auto... Rest, class Struct>
auto& member(Struct& self) {
  if constexpr (sizeof...(Rest) == 0) {
    return self.*First;
  } else {
    return member<Rest...>(self.*First);
  }
}

}  // namespace detail

template <class Enum>
[[nodiscard]] const char* name_of(Enum value) {
  for (const auto& [name, row] : Names<Enum>::kRows) {
    if (row == value) return name;
  }
  return "";
}

// Throws Error(kBadRequest) for another name.
template <class Enum>
[[nodiscard]] Enum named(const std::string& name) {
  std::string known;
  for (const auto& [text, value] : Names<Enum>::kRows) {
    if (name == text) return value;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  throw Error(ErrorCode::kBadRequest, "[_core] '" + name + "' is not one of " + known);
}

template <class Struct>
[[nodiscard]] nb::dict dict_of(const Struct& value);
template <class Struct>
void read_fields(nb::handle from, Struct& to);

template <class T>
[[nodiscard]] nb::object plain_of(const T& value) {
  if constexpr (detail::HasFields<T>) {
    return dict_of(value);
  } else if constexpr (std::is_enum_v<T>) {
    return nb::str(name_of(value));
  } else if constexpr (detail::kOptional<T>) {
    return value ? plain_of(*value) : nb::none();
  } else if constexpr (detail::kList<T> || detail::kArray<T>) {
    nb::list out;
    for (const auto& item : value) out.append(plain_of(item));
    return out;
  } else {
    return nb::cast(value);
  }
}

template <class T>
void read_plain(nb::handle from, T& to) {
  const auto number = [&](bool fits, const char* give) {
    T value{};
    if (!fits || PyBool_Check(from.ptr()) || !nb::try_cast<T>(from, value))
      throw BadValue{"", give};
    to = value;
  };
  if constexpr (detail::HasFields<T>) {
    read_fields(from, to);
  } else if constexpr (detail::kOptional<T>) {
    to.reset();
    if (!from.is_none()) read_plain(from, to.emplace());
  } else if constexpr (std::is_enum_v<T>) {
    try {
      to = named<T>(nb::isinstance<nb::str>(from) ? nb::cast<std::string>(from) : "");
    } catch (const Error& error) {
      const std::string text = error.what();
      throw BadValue{"", text.substr(text.find("one of"))};
    }
  } else if constexpr (detail::kList<T>) {
    if (!nb::isinstance<nb::list>(from) && !nb::isinstance<nb::tuple>(from)) {
      throw BadValue{"", "a list"};
    }
    to.clear();
    for (const nb::handle item : from) {
      if constexpr (std::same_as<T, std::vector<bool>>) {
        to.push_back(PyObject_IsTrue(item.ptr()) == 1);
      } else {
        read_plain(item, to.emplace_back());
      }
    }
  } else if constexpr (detail::kArray<T>) {
    std::vector<typename T::value_type> items;
    read_plain(from, items);
    if (items.size() != to.size()) {
      throw BadValue{"", "a list of " + std::to_string(to.size())};
    }
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = items[i];
  } else if constexpr (std::same_as<T, bool>) {
    if (!PyBool_Check(from.ptr())) throw BadValue{"", "True or False"};
    to = from.ptr() == Py_True;
  } else if constexpr (std::integral<T>) {
    number(PyLong_Check(from.ptr()),
           std::is_signed_v<T> ? "a whole number" : "a whole number from 0");
  } else if constexpr (std::floating_point<T>) {
    number(PyFloat_Check(from.ptr()) || PyLong_Check(from.ptr()), "a number");
  } else {
    if (nb::isinstance<nb::bytes>(from)) {
      const auto bytes = nb::borrow<nb::bytes>(from);
      to = T(bytes.c_str(), bytes.size());
    } else if (!nb::try_cast<T>(from, to)) {
      throw BadValue{"", "a text"};
    }
  }
}

// A field, or (with a longer path) a field of a member.
template <class Struct, auto... Path>
[[nodiscard]] constexpr Field<Struct> row(const char* name) {
  return {name, [](const Struct& self) { return plain_of(detail::member<Path...>(self)); },
          [](Struct& self, nb::handle value) { read_plain(value, detail::member<Path...>(self)); }};
}

template <class Struct>
nb::dict dict_of(const Struct& value) {
  nb::dict out;
  for (const Field<Struct>& field : Fields<Struct>::kRows) {
    if (field.get) out[field.name] = field.get(value);
  }
  return out;
}

template <class Struct>
void read_fields(nb::handle from, Struct& to) {
  if (!nb::isinstance<nb::dict>(from)) throw BadValue{"", "a dict"};
  for (const auto& [key, value] : nb::borrow<nb::dict>(from)) {
    const std::string name = nb::str(key).c_str();
    const Field<Struct>* found = nullptr;
    for (const Field<Struct>& field : Fields<Struct>::kRows) {
      if (field.set && name == field.name) found = &field;
    }
    if (!found) throw BadValue{name, ""};
    try {
      found->set(to, value);
    } catch (BadValue& bad) {
      if (bad.path.empty() && !bad.give.empty()) {
        bad.give = std::string("is ") + nb::repr(value).c_str() + ": give " + bad.give;
      }
      bad.path = name + (bad.path.empty() ? "" : "." + bad.path);
      throw;
    }
  }
}

// Throws Error(kBadRequest) that names a field which is unknown or of another type.
template <class Struct>
[[nodiscard]] Struct struct_of(nb::handle from) {
  Struct out;
  const std::string where = std::string("[") + Fields<Struct>::kName + "] ";
  try {
    read_fields(from, out);
  } catch (const BadValue& bad) {
    throw Error(ErrorCode::kBadRequest,
                where + (bad.path.empty()   ? "give " + bad.give
                         : bad.give.empty() ? "there is no field '" + bad.path + "'"
                                            : bad.path + " " + bad.give));
  }
  return out;
}

}  // namespace irt
