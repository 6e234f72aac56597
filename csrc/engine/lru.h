// A bounded map that forgets what was used longest ago.
#pragma once

#include <cstddef>
#include <list>
#include <new>
#include <unordered_map>
#include <utility>

namespace irt {

// Not thread-safe.
template <typename K, typename V>
class Lru {
 public:
  explicit Lru(std::size_t limit) : limit_(limit) {}

  // Null when absent. The pointer is good until the next `put`.
  [[nodiscard]] const V* get(const K& key) {
    const auto it = index_.find(key);
    if (it == index_.end()) return nullptr;
    order_.splice(order_.begin(), order_, it->second);
    return &it->second->second;
  }

  // The value of the key, made where it is not known; `cached` false: always, and not kept.
  template <class Make>
  [[nodiscard]] V get_or(const K& key, bool cached, Make make) {
    if (const V* hit = cached ? get(key) : nullptr) return *hit;
    V made = make();
    try {
      if (cached) put(key, made);
    } catch (const std::bad_alloc&) {
      // It is made again when it is asked for again.
    }
    return made;
  }

  void put(const K& key, V value) {
    if (limit_ == 0) return;
    if (const auto it = index_.find(key); it != index_.end()) {
      order_.erase(it->second);
      index_.erase(it);
    }
    while (order_.size() >= limit_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    order_.emplace_front(key, std::move(value));
    try {
      index_.emplace(key, order_.begin());
    } catch (...) {
      order_.pop_front();
      throw;
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return order_.size(); }

 private:
  std::size_t limit_;
  std::list<std::pair<K, V>> order_;
  std::unordered_map<K, typename std::list<std::pair<K, V>>::iterator> index_;
};

}  // namespace irt
