// Who still needs an image: running calls, trajectories, readers and clients count as one each.
#pragma once

#include <cstddef>
#include <unordered_map>

#include "core/key.h"
#include "engine/image_store.h"

namespace irt {

// Gives an image back to the store with its last owner. Not thread-safe: the driver's lock guards
// it.
class ImageOwners {
 public:
  explicit ImageOwners(ImageStore& store) : store_(store) {}

  void hold(const Key& image) { ++owners_[image]; }
  void drop(const Key& image) noexcept {
    const auto found = owners_.find(image);
    if (found == owners_.end() || --found->second > 0) return;
    owners_.erase(found);
    store_.release(image);
  }
  // For an image that was stored and then found to belong to nobody.
  void release_unowned(const Key& image) noexcept {
    if (!owners_.contains(image)) store_.release(image);
  }
  [[nodiscard]] std::size_t size() const noexcept { return owners_.size(); }

 private:
  ImageStore& store_;
  std::unordered_map<Key, std::size_t> owners_;
};

}  // namespace irt
