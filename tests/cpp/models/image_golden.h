// Written by make_image_golden.py; do not edit.
#pragma once

#include <cstdint>

#include "models/pixels.h"

namespace irt::golden {

struct Resize {
  int width, height, to_width, to_height;
  Filter filter;
  std::uint64_t hash;
};
inline constexpr Resize kResizes[] = {
    {48, 48, 96, 96, Filter::kBicubic, 0x997b24092f21e327ULL},
    {48, 48, 96, 96, Filter::kLanczos, 0x0b3ac479bd727428ULL},
    {64, 64, 16, 24, Filter::kBicubic, 0x4a3b6ff96f1d45ccULL},
    {64, 64, 16, 24, Filter::kLanczos, 0x3465256124487187ULL},
    {17, 31, 40, 9, Filter::kBicubic, 0x35666cc2a695737cULL},
    {17, 31, 40, 9, Filter::kLanczos, 0xf712fcb76192ee0dULL},
    {31, 17, 9, 40, Filter::kBicubic, 0xc8f12d4c8637083eULL},
    {31, 17, 9, 40, Filter::kLanczos, 0x6202974be3ce65c2ULL},
    {50, 20, 50, 33, Filter::kBicubic, 0xc9d805ae530c5254ULL},
    {50, 20, 50, 33, Filter::kLanczos, 0xdd9f219bf633e13bULL},
    {20, 50, 7, 50, Filter::kBicubic, 0x059e7807fadec5cfULL},
    {20, 50, 7, 50, Filter::kLanczos, 0xc2dfdc74ec1f106eULL},
    {33, 21, 33, 21, Filter::kBicubic, 0xdf626d4e2c7c44d4ULL},
    {33, 21, 33, 21, Filter::kLanczos, 0xdf626d4e2c7c44d4ULL},
    {97, 61, 53, 47, Filter::kBicubic, 0x937591a3d3f2c930ULL},
    {97, 61, 53, 47, Filter::kLanczos, 0xe9e53d91ce1d6acdULL},
    {16, 90, 12, 11, Filter::kBicubic, 0x1c455c382b798f4fULL},
    {16, 90, 12, 11, Filter::kLanczos, 0xb0259c2be8e065d5ULL},
    {90, 16, 11, 12, Filter::kBicubic, 0xd971507682d3b4cdULL},
    {90, 16, 11, 12, Filter::kLanczos, 0xa7658d80e5b57ffeULL},
    {1, 1, 5, 3, Filter::kBicubic, 0x7f05d47ffeddb6ffULL},
    {1, 1, 5, 3, Filter::kLanczos, 0x7f05d47ffeddb6ffULL},
    {40, 30, 1, 1, Filter::kBicubic, 0xcb84bd715d97112dULL},
    {40, 30, 1, 1, Filter::kLanczos, 0xcb84bd715d97112dULL},
};

struct Smart {
  int width, height, factor, min_pixels, max_pixels, to_width, to_height;
};
inline constexpr Smart kSmart[] = {
    {48, 48, 16, 2304, 2304, 48, 48},          {48, 48, 32, 65536, 147456, 256, 256},
    {48, 48, 28, 3136, 1003520, 56, 56},       {40, 56, 16, 2304, 2304, 48, 64},
    {40, 56, 32, 65536, 147456, 224, 320},     {40, 56, 28, 3136, 1003520, 56, 84},
    {24, 24, 16, 2304, 2304, 48, 48},          {24, 24, 32, 65536, 147456, 256, 256},
    {24, 24, 28, 3136, 1003520, 56, 56},       {8, 8, 16, 2304, 2304, 48, 48},
    {8, 8, 32, 65536, 147456, 256, 256},       {8, 8, 28, 3136, 1003520, 56, 56},
    {1000, 700, 16, 2304, 2304, 48, 32},       {1000, 700, 32, 65536, 147456, 448, 320},
    {1000, 700, 28, 3136, 1003520, 1008, 700}, {1920, 1080, 16, 2304, 2304, 64, 32},
    {1920, 1080, 32, 65536, 147456, 512, 288}, {1920, 1080, 28, 3136, 1003520, 1316, 728},
    {31, 4000, 16, 2304, 2304, 16, 544},       {31, 4000, 32, 65536, 147456, 32, 4000},
    {31, 4000, 28, 3136, 1003520, 28, 4004},   {3000, 20, 16, 2304, 2304, 576, 16},
    {3000, 20, 32, 65536, 147456, 3008, 32},   {3000, 20, 28, 3136, 1003520, 2996, 28},
    {385, 383, 16, 2304, 2304, 48, 32},        {385, 383, 32, 65536, 147456, 384, 384},
    {385, 383, 28, 3136, 1003520, 392, 392},   {72, 104, 16, 2304, 2304, 32, 48},
    {72, 104, 32, 65536, 147456, 224, 320},    {72, 104, 28, 3136, 1003520, 84, 112},
};

struct Patches {
  int patch, width, height;
  bool clip;
  std::uint64_t hash;
};
inline constexpr Patches kPatches[] = {
    {8, 48, 48, false, 0x436e88b39f1e05b9ULL},
    {8, 32, 80, true, 0xff31919344250353ULL},
    {14, 56, 28, true, 0x0902486f80dea6c9ULL},
    {16, 32, 64, false, 0x74f3eb3d8747db40ULL},
};

struct Schedule {
  int steps, tokens;
  std::uint64_t hash;
  float first_middle_last[3];
};
inline constexpr Schedule kSchedules[] = {
    {1,
     9,
     0x220fbb4d363bcc00ULL,
     {0x1.0000000000000p+0F, 0x1.0000000000000p+0F, 0x1.0000000000000p+0F}},
    {4,
     9,
     0x86620164c2e0f95aULL,
     {0x1.0000000000000p+0F, 0x1.e8b2da0000000p-1F, 0x1.6642f40000000p-1F}},
    {4,
     4096,
     0x62e75df001b4adf6ULL,
     {0x1.0000000000000p+0F, 0x1.ef4cf60000000p-1F, 0x1.88ce6e0000000p-1F}},
    {8,
     256,
     0xb6139b386897222eULL,
     {0x1.0000000000000p+0F, 0x1.d732120000000p-1F, 0x1.fd601a0000000p-2F}},
    {28,
     4301,
     0xca632c50512e9b55ULL,
     {0x1.0000000000000p+0F, 0x1.94b9480000000p-1F, 0x1.ba71ea0000000p-4F}},
    {50,
     16384,
     0x4a883d4cd966f1e1ULL,
     {0x1.0000000000000p+0F, 0x1.edf6800000000p-1F, 0x1.5c7ee20000000p-2F}},
};

// Of picture(7, 32, 24), through diffusers' VaeImageProcessor.
inline constexpr std::uint64_t kPlanar = 0xdb31ab693041f18dULL;

}  // namespace irt::golden
