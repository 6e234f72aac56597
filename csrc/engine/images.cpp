#include "engine/images.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"

namespace irt {

ImageRef ImageStore::put(const Key& key, PixelBuffer pixels) {
  const ImageView view = pixels.view();
  if (!key || view.width <= 0 || view.height <= 0 || pixels.data.size() != view.bytes()) {
    throw Error(ErrorCode::kBadRequest,
                "[ImageStore.put] an image needs a key and height x width x 3 bytes, got " +
                    std::to_string(view.height) + " x " + std::to_string(view.width) + " and " +
                    std::to_string(pixels.data.size()) + " bytes");
  }
  // Hashing reads every pixel: done before the lock is taken.
  auto image = std::make_shared<StoredImage>();
  image->key = key;
  image->hash = hash_pixels(view);
  image->pixels = std::move(pixels);

  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(key); found != entries_.end()) return found->second.image;
  const std::size_t added = image->pixels.data.size();
  if (added > limit_bytes_ || bytes_ > limit_bytes_ - added) {
    throw Error(ErrorCode::kLimitExceeded,
                "[ImageStore.put] an image of " + std::to_string(added) + " bytes does not fit: " +
                    std::to_string(bytes_) + " of " + std::to_string(limit_bytes_) +
                    " bytes are in use; read or forget requests, or raise image_bytes");
  }
  bytes_ += added;
  return entries_.emplace(key, Entry{std::move(image), {}}).first->second.image;
}

ImageRef ImageStore::get(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second.image;
}

ImageRef ImageStore::hold(const Key& key, ImageOwner owner) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return nullptr;
  ++found->second.owners[static_cast<std::size_t>(owner)];
  return found->second.image;
}

bool ImageStore::drop(const Key& key, ImageOwner owner) noexcept {
  ImageRef last;
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return false;
  std::size_t& count = found->second.owners[static_cast<std::size_t>(owner)];
  if (count == 0) return false;
  --count;
  last = erase_if_unowned(found);
  return true;
}

void ImageStore::drop_unowned(const Key& key) noexcept {
  ImageRef last;
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(key); found != entries_.end()) {
    last = erase_if_unowned(found);
  }
}

ImageRef ImageStore::erase_if_unowned(Entries::iterator entry) noexcept {
  const auto& owners = entry->second.owners;
  if (std::ranges::any_of(owners, [](std::size_t count) { return count > 0; })) return nullptr;
  ImageRef last = std::move(entry->second.image);
  bytes_ -= last->pixels.data.size();
  entries_.erase(entry);
  return last;
}

std::size_t ImageStore::size() const noexcept {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

std::size_t ImageStore::bytes() const noexcept {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace irt
