// Immutable 8-bit RGB images by key, and the one book of who still needs them.
#pragma once

#include <array>
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
// The buffer outlives the store for as long as anybody looks at it.
using ImageRef = std::shared_ptr<const StoredImage>;

// Who keeps an image in the store: calls that read it, trajectories until ReleaseImage, notices
// that carry it until they are read, clients until they take their put back.
enum class ImageOwner { kCall, kTrajectory, kNotice, kClient };
inline constexpr std::size_t kImageOwners = 4;

// Thread-safe.
class ImageStore {
 public:
  explicit ImageStore(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // Stored without an owner: somebody must `hold` it, or `drop_unowned` it. Storing the same key
  // again keeps the first image. Throws Error(kLimitExceeded) over the limit.
  ImageRef put(const Key& key, PixelBuffer pixels);
  // Null when the key is unknown.
  [[nodiscard]] ImageRef get(const Key& key) const;

  // One more owner of that kind; null when the key is unknown.
  ImageRef hold(const Key& key, ImageOwner owner);
  // One owner less; the image goes with the last of all kinds. False: no such owner held it.
  bool drop(const Key& key, ImageOwner owner) noexcept;
  // For an image that was stored and then found to belong to nobody.
  void drop_unowned(const Key& key) noexcept;

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept;

 private:
  struct Entry {
    ImageRef image;
    std::array<std::size_t, kImageOwners> owners{};
  };
  using Entries = std::unordered_map<Key, Entry>;

  // Returns the buffer, so that the caller frees it after the lock.
  [[nodiscard]] ImageRef erase_if_unowned(Entries::iterator entry) noexcept;

  mutable std::mutex mutex_;
  Entries entries_;
  std::size_t bytes_ = 0;
  const std::size_t limit_bytes_;
};

}  // namespace irt
