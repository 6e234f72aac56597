#include "engine/images.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace irt {

std::shared_ptr<StoredImage> hashed(PixelBuffer pixels) {
  const ImageView view = pixels.view();
  if (view.width <= 0 || view.height <= 0 || pixels.data.size() != view.bytes()) {
    throw Error(ErrorCode::kBadRequest,
                "[ImageStore] an image needs height x width x 3 bytes, got " +
                    std::to_string(view.height) + " x " + std::to_string(view.width) + " and " +
                    std::to_string(pixels.data.size()) + " bytes");
  }
  auto image = std::make_shared<StoredImage>();
  image->hash = hash_pixels(view);
  image->pixels = std::move(pixels);
  return image;
}

Key key_of_pixels(const PixelBuffer& pixels) {
  return KeyBuilder("irt.image.1")
      .add(static_cast<std::uint64_t>(pixels.width))
      .add(static_cast<std::uint64_t>(pixels.height))
      .add(std::string_view(reinterpret_cast<const char*>(pixels.data.data()), pixels.data.size()))
      .finish();
}

ImageRef ImageStore::put(const Key& key, std::shared_ptr<StoredImage> image, ImageOwner owner) {
  if (ImageRef known = hold(key, owner)) return known;
  const std::size_t added = image->pixels.data.size();
  const bool made = owner == ImageOwner::kTrajectory;
  const std::size_t limit = made && limit_bytes_ <= SIZE_MAX / 2 ? 2 * limit_bytes_ : limit_bytes_;
  if (added > limit || bytes_ > limit - added) {
    throw Error(
        ErrorCode::kLimitExceeded,
        "[ImageStore.put] an image of " + std::to_string(added) + " bytes does not fit: " +
            std::to_string(bytes_) + " of " + std::to_string(limit_bytes_) +
            " bytes are in use; read the events of requests to their end, or raise image_bytes");
  }
  image->key = key;
  entries_.emplace(key, Entry{std::move(image), {}});
  bytes_ += added;
  return hold(key, owner);
}

ImageRef ImageStore::get(const Key& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second.image;
}

ImageRef ImageStore::hold(const Key& key, ImageOwner owner) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return nullptr;
  ++found->second.owners[static_cast<std::size_t>(owner)];
  return found->second.image;
}

bool ImageStore::drop(const Key& key, ImageOwner owner) noexcept {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  std::size_t& count = found->second.owners[static_cast<std::size_t>(owner)];
  if (count == 0) return false;
  --count;
  erase_unowned(found);
  return true;
}

void ImageStore::drop_all(ImageOwner owner) noexcept {
  for (auto next = entries_.begin(); next != entries_.end();) {
    const auto entry = next++;
    entry->second.owners[static_cast<std::size_t>(owner)] = 0;
    erase_unowned(entry);
  }
}

void ImageStore::erase_unowned(Entries::iterator entry) noexcept {
  const auto& owners = entry->second.owners;
  if (std::ranges::any_of(owners, [](std::size_t left) { return left > 0; })) return;
  bytes_ -= entry->second.image->pixels.data.size();
  entries_.erase(entry);
}

}  // namespace irt
