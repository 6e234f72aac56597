// The runtime libraries by address, and the arithmetic that reference and parity tests share with
// the lanes.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind/convert.h"
#include "bind/fields.h"
#include "core/error.h"
#include "models/flow.h"
#include "models/llguidance.h"
#include "models/pixels.h"
#include "models/qwen3_vl.h"
#include "tensor/runtime.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace irt {
namespace {

using Floats = nb::ndarray<nb::numpy, float, nb::ndim<1>>;

Floats array_of_floats(std::vector<float> values) {
  auto* kept = new std::vector<float>(std::move(values));
  const nb::capsule owner(kept,
                          [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
  return Floats(kept->data(), {kept->size()}, owner);
}

void require(bool good, const char* text) {
  if (!good) throw Error(ErrorCode::kBadRequest, text);
}

nb::typed<nb::dict, nb::str, nb::str> build_info() {
  nb::typed<nb::dict, nb::str, nb::str> info;
  info["version"] = IRT_VERSION;
  info["compiler"] = __VERSION__;
  info["build_type"] = IRT_BUILD_TYPE;
  info["sanitizer"] = IRT_SANITIZER;
  return info;
}

}  // namespace

void bind_rt(nb::module_& m) {
  m.def("load_runtime", &load_runtime, "address"_a,
        "Gives the core ONNX Runtime: the address of OrtGetApiBase in the loaded library.");
  m.def("runtime_version", &runtime_version);
  m.def(
      "gaussian_noise",
      [](std::uint64_t seed, std::size_t n) {
        std::vector<float> out(n);
        unlocked([&] { gaussian_noise(seed, out); });
        return array_of_floats(std::move(out));
      },
      "seed"_a, "n"_a, "The generator's noise: float32 [n], a function of seed and index.");
  m.def(
      "flow_sigmas",
      [](int steps, int tokens, double shift, double terminal, const std::vector<double>& line) {
        require(steps >= 1 && tokens >= 1, "[_core.flow_sigmas] give steps >= 1 and tokens >= 1");
        require(line.empty() || line.size() == 4, "[_core.flow_sigmas] a line has two points");
        return array_of_floats(flow_sigmas(steps, tokens, shift, terminal, line));
      },
      "steps"_a, "tokens"_a, "shift"_a = 0.0, "terminal"_a = 0.0, "line"_a = std::vector<double>(),
      "Sigmas of the denoising schedule: float32 [steps + 1]; shift 0: on the line through two "
      "points (tokens, mu), or FLUX.2's own; terminal 0: none.");
  m.def(
      "hash_pixels",
      [](const PixelsIn& pixels) { return unlocked([&] { return hash_pixels(view_of(pixels)); }); },
      "pixels"_a.noconvert(), "Content hash of uint8 [height, width, 3].");
  m.def(
      "resize_bicubic",
      [](const PixelsIn& pixels, int width, int height) {
        require(width >= 1 && height >= 1 && pixels.size() > 0,
                "[_core.resize_bicubic] give an image and a size of at least 1 x 1");
        return array_of(unlocked([&] { return resize(view_of(pixels), width, height); }));
      },
      "pixels"_a.noconvert(), "width"_a, "height"_a, "As Pillow's BICUBIC, bit for bit.");
  m.def(
      "smart_resize",
      [](int width, int height, int factor, std::int64_t min_pixels, std::int64_t max_pixels) {
        require(width >= 1 && height >= 1 && factor >= 1,
                "[_core.smart_resize] give a size and a factor of at least 1");
        const Size size = smart_resize({width, height}, factor, min_pixels, max_pixels);
        return std::pair(size.width, size.height);
      },
      "width"_a, "height"_a, "factor"_a, "min_pixels"_a, "max_pixels"_a,
      "(width, height) that a vision encoder reads an image at.");
  m.def("build_info", &build_info);
  m.def("llguidance_symbols", &llguidance_symbols,
        "Names of the functions whose addresses load_llguidance wants, in that order.");
  m.def(
      "load_llguidance",
      [](const std::vector<std::uintptr_t>& addresses) { load_llguidance(addresses); },
      "addresses"_a,
      "Takes llguidance's functions and tries them on a grammar with a known answer.");
  m.def("llguidance_version", &llguidance_version, "Empty while it is not loaded.");
}

}  // namespace irt
