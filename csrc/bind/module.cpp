// The module: lists the parts, and translates the one error type of the core.
#include <nanobind/nanobind.h>

#include <exception>
#include <string>

#include "core/error.h"

namespace nb = nanobind;

namespace irt {
void bind_text(nb::module_& m);
void bind_rt(nb::module_& m);
void bind_native(nb::module_& m);
void bind_scripted(nb::module_& m);
void bind_simulate(nb::module_& m);
void bind_engine(nb::module_& m);
void bind_external(nb::module_& m);

namespace {

// CoreError(code, message): the face maps the code to a class of interleave_rt.errors.
void bind_errors(nb::module_& m) {
  PyObject* type = PyErr_NewExceptionWithDoc(
      "interleave_rt._core.CoreError",
      "Raised by the core; args are (code, message), codes as in interleave_rt.errors.", nullptr,
      nullptr);
  if (!type) nb::raise_python_error();
  m.attr("CoreError") = nb::steal(type);
  nb::register_exception_translator(
      [](const std::exception_ptr& thrown, void* payload) {
        try {
          std::rethrow_exception(thrown);
        } catch (const Error& error) {
          const nb::tuple args = nb::make_tuple(to_string(error.code()), error.what());
          PyErr_SetObject(static_cast<PyObject*>(payload), args.ptr());
        }
      },
      type);
}

}  // namespace
}  // namespace irt

NB_MODULE(_core, m) {
  // An engine that is alive when the process ends is closed, and no fault of the user's.
  nb::set_leak_warnings(false);
  m.doc() = "The native core of interleave_rt; its face is the package itself.";
  irt::bind_errors(m);
  irt::bind_text(m);
  irt::bind_rt(m);
  irt::bind_native(m);
  irt::bind_scripted(m);
  irt::bind_simulate(m);
  irt::bind_engine(m);
  irt::bind_external(m);
}
