// Constrained decoding: llguidance by address, and matchers that are written in Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind/native_config.h"
#include "core/error.h"
#include "models/llguidance.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

// Owns a Python object from any thread: takes the GIL to let go of it.
using PyRef = std::shared_ptr<nb::object>;
PyRef keep(nb::object object) {
  return PyRef(new nb::object(std::move(object)), [](nb::object* kept) {
    const nb::gil_scoped_acquire locked;
    delete kept;
  });
}

// Runs with the GIL; a Python exception becomes an Error.
template <typename Function>
auto in_python(ErrorCode code, const std::string& where, Function&& function) {
  const nb::gil_scoped_acquire locked;
  try {
    return function();
  } catch (const std::exception& error) {
    throw Error(code, where + ": " + error.what());
  }
}

template <typename Function>
auto ask(Function&& function) {
  return in_python(ErrorCode::kBackendFailed, "[PythonMatcher]", std::forward<Function>(function));
}

// What Python's object must have: deep_copy(), accepts(token), consume(token), complete(), mask().
class PythonMatcher final : public TokenMatcher {
 public:
  explicit PythonMatcher(PyRef object) : object_(std::move(object)) {}

  std::unique_ptr<TokenMatcher> clone() const override {
    return ask([&]() -> std::unique_ptr<TokenMatcher> {
      return std::make_unique<PythonMatcher>(keep(object_->attr("deep_copy")()));
    });
  }
  bool accepts(std::int64_t token) override {
    return ask([&] { return nb::cast<bool>(object_->attr("accepts")(token)); });
  }
  void consume(std::int64_t token) override {
    ask([&] { object_->attr("consume")(token); });
  }
  bool complete() override {
    return ask([&] { return nb::cast<bool>(object_->attr("complete")()); });
  }
  void allowed(std::span<std::uint32_t> bits) override {
    ask([&] {
      const auto mask = nb::cast<nb::bytes>(object_->attr("mask")());
      std::fill(bits.begin(), bits.end(), 0U);
      std::memcpy(bits.data(), mask.c_str(), std::min(mask.size(), bits.size_bytes()));
    });
  }

 private:
  PyRef object_;
};

}  // namespace

void bind_grammar(nb::module_& m) {
  m.def("llguidance_symbols", &llguidance_symbols,
        "Names of the functions whose addresses load_llguidance wants, in that order.");
  m.def(
      "load_llguidance",
      [](const std::vector<std::uintptr_t>& addresses) { load_llguidance(addresses); },
      "addresses"_a,
      "Takes llguidance's functions and tries them on a grammar with a known answer.");
  m.def("llguidance_version", &llguidance_version, "Empty while it is not loaded.");

  nb::class_<GrammarText>(m, "GrammarText", "A grammar of answers, in llguidance's Lark dialect.")
      .def(
          "__init__",
          [](GrammarText* self, std::string name, std::string whole, std::string closing,
             int reserve) {
            new (self) GrammarText{std::move(name), std::move(whole), std::move(closing), reserve};
          },
          "name"_a, "whole"_a, "closing"_a = "", "reserve"_a = 0)
      .def_ro("name", &GrammarText::name)
      .def_ro("whole", &GrammarText::whole)
      .def_ro("closing", &GrammarText::closing)
      .def_ro("reserve", &GrammarText::reserve);
}

void bind_matcher_factory(nb::class_<BoundVlmConfig>& cls) {
  cls.def(
      "set_matcher_factory",
      [](BoundVlmConfig& self, nb::object factory) {
        self.compile = [kept = keep(std::move(factory))](const std::string& name,
                                                         const std::string& text) {
          return in_python(ErrorCode::kBadPack, "[grammar " + name + "] cannot be compiled",
                           [&]() -> std::unique_ptr<TokenMatcher> {
                             return std::make_unique<PythonMatcher>(keep((*kept)(text)));
                           });
        };
      },
      "factory"_a,
      "Matchers from `factory(text)`, in Python and under the GIL, instead of llguidance's C "
      "interface.");
}

}  // namespace irt
