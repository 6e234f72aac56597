// Structs and plain Python values: one table of fields a struct, used in both directions.
//
//   template <> struct Fields<Span> {
//     static constexpr const char* kName = "Span";
//     static constexpr auto kRows =
//         join(fields<&Span::step, &Span::used>(), std::array{row<&Span::cancel>("cancel_us")});
//   };
//
// dict_of(span) makes {"step": ..., ...}; struct_of<Span>(dict) reads one, keeps the default of a
// field that is not there, and names the field that is unknown or of another type.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <map>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "bind/gil.h"
#include "core/error.h"

namespace irt {

namespace nb = nanobind;

using Dict = nb::typed<nb::dict, nb::str, nb::any>;
using Dicts = nb::typed<nb::list, Dict>;

// The table of a struct, and the names of an enum's values in their order: specialised where they
// are bound.
template <class Struct>
struct Fields;
template <class Enum>
inline constexpr auto kNames = nullptr;

template <class Struct>
struct Field {
  std::string_view name;
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
inline constexpr bool kMap = false;
template <class T>
inline constexpr bool kMap<std::map<std::string, T>> = true;
template <class T>
concept List = std::ranges::range<T> && !std::convertible_to<T, std::string_view> && !kMap<T>;

template <auto kFirst, auto... kRest, class Struct>
auto& member(Struct& self) {
  if constexpr (sizeof...(kRest) == 0) {
    return self.*kFirst;
  } else {
    return member<kRest...>(self.*kFirst);
  }
}

template <class Struct, class T>
Struct owner_of(T Struct::*);
template <auto kFirst, auto...>
auto owner() -> decltype(owner_of(kFirst));

// The name of a member, from how the compiler spells the pointer to it: "... = &irt::Span::step]".
template <auto kMember>
[[nodiscard]] constexpr std::string_view name_of_member() {
  std::string_view text = __PRETTY_FUNCTION__;
  text.remove_prefix(text.find('&'));
  text = text.substr(0, text.find_first_of(";])"));
  return text.substr(text.rfind(':') + 1);
}

}  // namespace detail

template <class Enum>
[[nodiscard]] const char* name_of(Enum value) {
  return kNames<Enum>[static_cast<std::size_t>(value)];
}

// Throws Error(kBadRequest) for another name.
template <class Enum>
[[nodiscard]] Enum named(std::string_view name) {
  const auto found = std::ranges::find(kNames<Enum>, name);
  if (found != std::end(kNames<Enum>)) {
    return static_cast<Enum>(found - std::begin(kNames<Enum>));
  }
  std::string known;
  for (const char* text : kNames<Enum>) known += (known.empty() ? "" : ", ") + std::string(text);
  throw Error(ErrorCode::kBadRequest, "[_core] '" + std::string(name) + "' is not one of " + known);
}

template <class Struct>
[[nodiscard]] Dict dict_of(const Struct& value);
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
  } else if constexpr (detail::kMap<T>) {
    nb::dict out;
    for (const auto& [key, item] : value) out[key.c_str()] = plain_of(item);
    return out;
  } else if constexpr (detail::List<T>) {
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
  } else if constexpr (detail::kMap<T>) {
    if (!nb::isinstance<nb::dict>(from)) throw BadValue{"", "a dict"};
    for (const auto& [key, value] : nb::borrow<nb::dict>(from)) {
      read_plain(value, to[nb::str(key).c_str()]);
    }
  } else if constexpr (detail::List<T>) {
    if (!nb::isinstance<nb::list>(from) && !nb::isinstance<nb::tuple>(from)) {
      throw BadValue{"", "a list"};
    }
    if constexpr (requires { to.emplace_back(); }) {
      to.clear();
      for (const nb::handle item : from) read_plain(item, to.emplace_back());
    } else {
      if (nb::len(from) != to.size()) {
        throw BadValue{"", "a list of " + std::to_string(to.size())};
      }
      for (std::size_t i = 0; i < to.size(); ++i) read_plain(from[i], to[i]);
    }
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

// A member, or (with a longer path) a member of a member, under a name of its own.
template <auto... kPath>
[[nodiscard]] constexpr auto row(std::string_view name) {
  using Struct = decltype(detail::owner<kPath...>());
  return Field<Struct>{
      name, [](const Struct& self) { return plain_of(detail::member<kPath...>(self)); },
      [](Struct& self, nb::handle value) { read_plain(value, detail::member<kPath...>(self)); }};
}

// Members under their own names; of the member that the path leads to.
template <auto... kMembers>
[[nodiscard]] constexpr auto fields() {
  return std::array{row<kMembers>(detail::name_of_member<kMembers>())...};
}
template <auto... kPath>
struct At {
  template <auto... kMembers>
  [[nodiscard]] static constexpr auto fields() {
    return std::array{row<kPath..., kMembers>(detail::name_of_member<kMembers>())...};
  }
};

template <class Row, std::size_t... kSizes>
[[nodiscard]] constexpr auto join(const std::array<Row, kSizes>&... parts) {
  std::array<Row, (kSizes + ...)> all{};
  auto end = all.begin();
  ((end = std::ranges::copy(parts, end).out), ...);
  return all;
}

template <class Struct>
void add_fields(nb::dict& out, const Struct& value) {
  for (const Field<Struct>& field : Fields<Struct>::kRows) {
    if (field.get) out[nb::str(field.name.data(), field.name.size())] = field.get(value);
  }
}

template <class Struct>
Dict dict_of(const Struct& value) {
  Dict out;
  add_fields(out, value);
  return out;
}

// Runs it without the GIL: it may wait for a lock or another thread.
template <class Work>
auto unlocked(const Work& work) {
  const WithoutGil released;
  return work();
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
