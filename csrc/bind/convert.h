// Arrays of Python as views of the core, and back.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "models/pixels.h"

namespace irt {

namespace nb = nanobind;

// uint8 [height, width, 3] and int64 [n], never converted: a wrong dtype is a TypeError.
using PixelsIn =
    nb::ndarray<const std::uint8_t, nb::shape<-1, -1, 3>, nb::c_contig, nb::device::cpu>;
using IdsIn = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using PixelsOut = nb::ndarray<nb::numpy, const std::uint8_t, nb::ndim<3>>;

[[nodiscard]] inline ImageView view_of(const PixelsIn& pixels) {
  return {pixels.data(), static_cast<int>(pixels.shape(1)), static_cast<int>(pixels.shape(0))};
}
[[nodiscard]] inline std::span<const std::int64_t> span_of(const IdsIn& ids) {
  return {ids.data(), ids.size()};
}
[[nodiscard]] inline PixelBuffer copy_of(const PixelsIn& pixels) {
  const ImageView view = view_of(pixels);
  return {view.width, view.height, {view.data, view.data + view.bytes()}};
}
[[nodiscard]] inline std::vector<std::int64_t> copy_of(const IdsIn& ids) {
  return {ids.data(), ids.data() + ids.size()};
}

// A read-only array over `view`; `owner` keeps the memory alive for as long as the array lives.
template <class Owner>
PixelsOut array_of(const ImageView& view, Owner owner) {
  auto* kept = new Owner(std::move(owner));
  const nb::capsule capsule(kept, [](void* p) noexcept { delete static_cast<Owner*>(p); });
  const std::size_t shape[] = {static_cast<std::size_t>(view.height),
                               static_cast<std::size_t>(view.width), 3};
  return PixelsOut(view.data, 3, shape, capsule);
}
[[nodiscard]] inline PixelsOut array_of(PixelBuffer pixels) {
  auto kept = std::make_shared<const PixelBuffer>(std::move(pixels));
  return array_of(kept->view(), kept);
}

}  // namespace irt
