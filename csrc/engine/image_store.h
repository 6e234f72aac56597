// Immutable 8-bit RGB images by key, reference-counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/key.h"
#include "models/pixels.h"

namespace irt {

struct StoredImage {
  Key key;
  std::uint64_t hash = 0;
  PixelBuffer pixels;
};
// Running calls, trajectories and readers each hold one of these: the buffer outlives the engine
// for as long as anybody looks at it.
using ImageRef = std::shared_ptr<const StoredImage>;

// Thread-safe.
class ImageStore {
 public:
  explicit ImageStore(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // Throws Error(kLimitExceeded) over the limit. Storing the same key again keeps the first image.
  ImageRef put(const Key& key, PixelBuffer pixels);
  // Null when the key is unknown.
  [[nodiscard]] ImageRef get(const Key& key) const;
  void release(const Key& key) noexcept;

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept;
  [[nodiscard]] std::size_t limit_bytes() const noexcept { return limit_bytes_; }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<Key, ImageRef> images_;
  std::size_t bytes_ = 0;
  std::size_t limit_bytes_;
};

}  // namespace irt
