// Where a test program finds ONNX Runtime and the graphs of make_graphs.py: the CMake variables
// IRT_ORT_LIBRARY and IRT_TEST_GRAPHS, or the environment variables of these names.
#pragma once

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "support/fake_device.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"

namespace irt::testing {

inline std::string setting(const char* name, const char* compiled) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : compiled;
}

#ifndef IRT_ORT_LIBRARY
#define IRT_ORT_LIBRARY ""
#endif
#ifndef IRT_TEST_GRAPHS
#define IRT_TEST_GRAPHS ""
#endif

// Loads the library once. False, with a message, where none is given; a path that cannot be loaded
// fails the test.
inline bool ort_ready() {
  if (runtime_or_null() != nullptr) return true;
  const std::string path = setting("IRT_ORT_LIBRARY", IRT_ORT_LIBRARY);
  if (path.empty() || setting("IRT_TEST_GRAPHS", IRT_TEST_GRAPHS).empty()) {
    MESSAGE(
        "skipped: set IRT_ORT_LIBRARY (libonnxruntime.so) and IRT_TEST_GRAPHS (a folder made "
        "by tests/cpp/models/make_graphs.py)");
    return false;
  }
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);  // no threads of the library's own
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE_MESSAGE(library != nullptr, dlerror());
  void* base = dlsym(library, "OrtGetApiBase");
  REQUIRE(base != nullptr);
  load_runtime(reinterpret_cast<std::uintptr_t>(base));
  if (std::getenv("IRT_GUARDED") != nullptr) guard_every_session();
  return true;
}

inline std::string graph_path(const std::string& name) {
  return setting("IRT_TEST_GRAPHS", IRT_TEST_GRAPHS) + "/" + name;
}

// Gives a tensor these values, wherever it lives.
inline void set_values(const Tensor& tensor, const std::vector<float>& values) {
  tensor.read_from(values.data(), values.size() * sizeof(float));
}

// The values of a tensor, wherever it lives.
inline std::vector<float> values_of(const Tensor& tensor) {
  const Tensor here = tensor.on(host());
  const auto values = here.as<float>();
  return {values.begin(), values.end()};
}

}  // namespace irt::testing

// First line of a test case that needs the library.
#define IRT_NEEDS_ORT() \
  if (!irt::testing::ort_ready()) return
