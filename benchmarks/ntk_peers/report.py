"""x"""
def write() -> None:
    """x"""
