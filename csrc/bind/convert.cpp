#include "bind/convert.h"

#include <charconv>
#include <memory>

#include "core/error.h"

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

Key key_of_hex(std::string_view hex) {
  Key key;
  const auto read = [](std::string_view digits, std::uint64_t& value) {
    const char* end = digits.data() + digits.size();
    return std::from_chars(digits.data(), end, value, 16).ptr == end;
  };
  if (hex.size() == 32 && read(hex.substr(0, 16), key.hi) && read(hex.substr(16), key.lo)) {
    return key;
  }
  throw Error(ErrorCode::kBadRequest,
              "[_core] '" + std::string(hex) + "' is no image key: put_image returns one");
}

}  // namespace irt
