"""The processor itself runs the guest, through /dev/kvm."""
