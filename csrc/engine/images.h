// Immutable 8-bit RGB images by key, and the one book of who still needs them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
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

// A picture that is ready to be stored: this reads every pixel, so it is done under no lock.
// Throws Error(kBadRequest) for anything but height x width x 3 bytes.
[[nodiscard]] std::shared_ptr<StoredImage> hashed(PixelBuffer pixels);

// Equal pixels, equal key: features that a lane has cached for an image serve every request.
[[nodiscard]] Key key_of_pixels(const PixelBuffer& pixels);

// Who keeps an image in the store: calls that read it, trajectories until ReleaseImage, notices
// that carry it until they are read, clients until they take their put back.
enum class ImageOwner { kCall, kTrajectory, kNotice, kClient };
inline constexpr std::size_t kImageOwners = 4;

// Not thread-safe: the driver's lock guards it.
class ImageStore {
 public:
  explicit ImageStore(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // Stores it with one owner; a key that is known keeps its first image, and has an owner more.
  // Throws Error(kLimitExceeded) over the limit; pictures that a trajectory waits for may take as
  // much again, so that the request that is read never lacks what it would have alone.
  ImageRef put(const Key& key, std::shared_ptr<StoredImage> image, ImageOwner owner);
  // Null when the key is unknown.
  [[nodiscard]] ImageRef get(const Key& key) const;
  // One more owner of that kind; null when the key is unknown.
  ImageRef hold(const Key& key, ImageOwner owner);
  // One owner less; the image goes with the last of all kinds. False: no such owner held it.
  bool drop(const Key& key, ImageOwner owner) noexcept;

  // Of every image, all owners of that kind.
  void drop_all(ImageOwner owner) noexcept;

  // Where so many bytes leave little room, and where only the requests under way may take more.
  [[nodiscard]] bool crowded(std::size_t bytes) const noexcept { return bytes > limit_bytes_ / 2; }
  [[nodiscard]] bool nearly_full(std::size_t bytes) const noexcept {
    return bytes > limit_bytes_ - limit_bytes_ / 4;
  }

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  struct Entry {
    ImageRef image;
    std::array<std::size_t, kImageOwners> owners{};
  };

  using Entries = std::unordered_map<Key, Entry>;

  void erase_unowned(Entries::iterator entry) noexcept;

  Entries entries_;
  std::size_t bytes_ = 0;
  const std::size_t limit_bytes_;
};

}  // namespace irt
