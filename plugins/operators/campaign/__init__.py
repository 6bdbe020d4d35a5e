"""Many observations in one run: searched, recalled in a sliding window, processed, published one by one."""
