#include "bind/convert.h"

#include <memory>

namespace irt {

ImageView view_of(const PixelsIn& pixels) {
  return {pixels.data(), static_cast<int>(pixels.shape(1)), static_cast<int>(pixels.shape(0))};
}

PixelBuffer copy_of(const PixelsIn& pixels) {
  const ImageView view = view_of(pixels);
  return {view.width, view.height, {view.data, view.data + view.bytes()}};
}

std::vector<std::int64_t> copy_of(const IdsIn& ids) {
  return {ids.data(), ids.data() + ids.size()};
}

PixelsOut array_of(PixelBuffer pixels) {
  auto kept = std::make_shared<const PixelBuffer>(std::move(pixels));
  const ImageView view = kept->view();
  return array_of(view, std::move(kept));
}

}  // namespace irt
