#include "engine/image_store.h"

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
  if (const auto found = images_.find(key); found != images_.end()) return found->second;
  const std::size_t added = image->pixels.data.size();
  if (added > limit_bytes_ || bytes_ > limit_bytes_ - added) {
    throw Error(ErrorCode::kLimitExceeded,
                "[ImageStore.put] an image of " + std::to_string(added) + " bytes does not fit: " +
                    std::to_string(bytes_) + " of " + std::to_string(limit_bytes_) +
                    " bytes are in use; forget ended requests, or raise image_bytes");
  }
  bytes_ += added;
  return images_.emplace(key, std::move(image)).first->second;
}

ImageRef ImageStore::get(const Key& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = images_.find(key);
  return found == images_.end() ? nullptr : found->second;
}

void ImageStore::release(const Key& key) noexcept {
  ImageRef last;  // a large buffer is freed after the lock
  const std::lock_guard lock(mutex_);
  const auto found = images_.find(key);
  if (found == images_.end()) return;
  last = std::move(found->second);
  bytes_ -= last->pixels.data.size();
  images_.erase(found);
}

std::size_t ImageStore::size() const noexcept {
  const std::lock_guard lock(mutex_);
  return images_.size();
}

std::size_t ImageStore::bytes() const noexcept {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace irt
